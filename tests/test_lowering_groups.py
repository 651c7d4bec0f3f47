"""Groups merged into wider ones: the same products, and zeros."""

import numpy as np
import pytest
import tiny

from edgecls import runtimes, verification
from edgecls.exporters import frozen, onnx, tflite
from edgecls.exporters.lowerings import groups
from edgecls.graph import read
from edgecls.graph.cost import cost

SIZE = 9


@pytest.mark.parametrize(
    ("count", "filters", "width", "expected"),
    [
        (32, 4, 16, 4),
        (32, 8, 16, 2),
        (32, 16, 16, 1),
        (3, 5, 16, 3),
        (6, 5, 16, 3),
        (7, 4, 16, 1),
        (64, 4, 32, 8),
        (2, 48, 32, 1),
    ],
)
def test_groups_are_merged_up_to_a_width(count, filters, width, expected):
    assert groups.factor(count, filters, width) == expected


def convolved(pictures, kernel, count):
    """By hand: (height, width, channels) under (filters, 3, 3, channels of a group), valid padding."""
    windows = np.lib.stride_tricks.sliding_window_view(pictures, kernel.shape[1:3], axis=(0, 1))
    parts = zip(np.split(windows, count, axis=2), np.split(kernel, count), strict=True)
    return np.concatenate([np.einsum("hwcij,fijc->hwf", part, each) for part, each in parts], axis=-1)


@pytest.mark.parametrize(("count", "factor"), [(6, 1), (6, 2), (6, 3), (6, 6), (1, 1)])
@pytest.mark.parametrize("axis", [1, 3])
def test_a_merged_kernel_computes_the_same_bit_for_bit(count, factor, axis):
    rng = np.random.default_rng(0)
    kernel = rng.integers(-9, 9, (12, 3, 3, 24 // count)).astype(np.float32)
    picture = rng.integers(-9, 9, (5, 6, 24)).astype(np.float32)
    wide = np.moveaxis(groups.merge(np.moveaxis(kernel, 3, axis), count, factor, axis), axis, 3)
    assert wide.shape == (12, 3, 3, 24 // count * factor)
    assert np.count_nonzero(wide) == np.count_nonzero(kernel)
    assert (convolved(picture, wide, count // factor) == convolved(picture, kernel, count)).all()


def test_a_kernel_merged_wrongly_computes_something_else():
    rng = np.random.default_rng(0)
    kernel, picture = rng.standard_normal((12, 3, 3, 4)), rng.standard_normal((5, 6, 24))
    wide = groups.merge(kernel, 6, 2, 3)
    assert np.abs(convolved(picture, wide[..., ::-1], 3) - convolved(picture, kernel, 6)).max() > 0.1


@pytest.fixture(scope="module")
def net():
    """A 3x3 in 8 groups of 4, in 4 groups of 16, a depthwise one and a 1x1 in groups."""
    import keras

    keras.utils.set_random_seed(0)
    x = image = keras.Input((SIZE, SIZE, 3))
    for width, kernel, count in ((32, 1, 1), (32, 3, 8), (64, 3, 4), (64, 1, 16)):
        x = keras.layers.Conv2D(width, kernel, padding="same", groups=count, activation="relu")(x)
    x = keras.layers.DepthwiseConv2D(3)(x)
    return keras.Model(image, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x)))


@pytest.fixture(scope="module")
def files(net, tmp_path_factory):
    """{format: (float file, it lowered)}"""
    folder = tmp_path_factory.mktemp("groups")
    graph, _ = frozen.freeze(net, "net")
    tflite.convert(graph, folder / "net.tflite")
    onnx.convert(graph, folder / "skeleton.onnx", folder / "kernels")
    onnx.join(folder / "skeleton.onnx", folder / "kernels", folder / "net.onnx")
    found = {}
    for format, exporter in (("tflite", tflite), ("onnx", onnx)):
        paths = folder / f"net.{format}", folder / f"lowered.{format}"
        assert exporter.lower(*map(str, paths), ["groups"]) == ["groups"]
        found[format] = paths
    return found


def shapes(path, axis):
    found = [op.inputs[1].shape[axis] for op in read(path).ops if op.kind in ("CONV_2D", "Conv")]
    return [width for width in found if width > 1]


@pytest.mark.parametrize(("format", "axis", "merged"), [("tflite", 3, 16), ("onnx", 1, 32)])
def test_narrow_groups_of_a_file_are_merged_and_no_others(files, format, axis, merged):
    before, after = (shapes(path, axis) for path in files[format])
    assert before == [3, 4, 8, 4]
    assert after == [3, merged, 16 if format == "onnx" else 8, 4]


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_lowered_file_computes_the_same(net, files, format):
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((4, 1, SIZE, SIZE, 3)).astype(np.float32)
    wanted = np.asarray(net(inputs[:, 0], training=False))
    found = verification.logits(runtimes.open(files[format][1]), inputs)
    # Of the longest sum, 9 * 32 products that are mostly zeros, each step may round.
    assert np.abs(found - wanted).max() < 9 * 32 * 2**-24 * np.abs(wanted).max()
    assert np.ptp(wanted, axis=0).min() > 0.01 * np.abs(wanted).max()


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_the_zeros_are_counted_in_the_file(files, format):
    before, after = (cost(read(path)) for path in files[format])
    assert after.macs > before.macs and after.params > before.params
    assert after.ops == before.ops


@pytest.mark.parametrize("exporter", [tflite, onnx])
def test_a_file_without_groups_is_not_written_again(tmp_path, exporter):
    format = exporter.__name__.rpartition(".")[2]
    source = getattr(tiny, f"save_{format}")(tmp_path / f"net.{format}")
    assert exporter.lower(str(source), str(tmp_path / f"lowered.{format}"), ["groups"]) == []
    assert [path.name for path in tmp_path.iterdir()] == [f"net.{format}"]
