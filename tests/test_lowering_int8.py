"""Rewrites on the way to int8: float graphs of the same function, of which integer kernels take all."""

import numpy as np
import onnx as onnx_package
import pytest
from onnx import numpy_helper

import edgecls
from edgecls import registry, runtimes, verification
from edgecls.exporters import frozen, onnx, tflite
from edgecls.exporters.lowerings import LOWERINGS, align, factors, pools, scales
from edgecls.graph import read

SIZE = 16
#: The cheapest row of each source of a light family.
LIGHT = {
    (row.family.name, row.source): row
    for row in sorted(registry.select(tier="light"), key=lambda row: -row.macs)
}
EXPORTERS = {"tflite": tflite, "onnx": onnx}


def block(keras, x, filters, name, linear):
    """Depthwise with hard-swish, squeeze and excite, 1x1; `linear` without what is not exact."""
    from edgecls.models import _blocks as blocks

    x = blocks.TORCH.depthwise(x, 3, name=f"{name}_depthwise")
    if not linear:
        x = blocks.activate(x, "hard_swish", name=name)
        x = blocks.squeeze_excite(x, 6, gate="hard_sigmoid", name=name)
    return keras.layers.Conv2D(filters, 1, activation="relu", name=f"{name}_project")(x)


def build(linear=False):
    """What int8 cuts or slows down: hard-swish, average pools of both paddings, odd numbers of channels,
    a concatenation, cuts of channels and a shortcut around two of them."""
    import keras

    x = image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(10, 3, strides=2, padding="same", activation="relu", name="stem")(x)
    if not linear:
        x = keras.layers.AveragePooling2D(3, strides=1, padding="same", name="same")(x)
    left, right = (block(keras, x, filters, name, linear) for filters, name in ((8, "left"), (5, "right")))
    cheap = keras.layers.DepthwiseConv2D(3, padding="same", name="cheap")(right)
    y = keras.layers.Concatenate(name="joined")([left, right, cheap])
    y = keras.layers.Concatenate(name="again")([y[..., :5], y[..., 5:]])
    x = keras.layers.Conv2D(18, 1, name="shortcut")(x)
    x = block(keras, keras.layers.Add(name="sum")([x, y]), 20, "last", linear)
    if not linear:
        x = keras.layers.AveragePooling2D(2, name="valid")(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(image, keras.layers.Dense(5, name="logits")(x))
    rng = np.random.default_rng(0)
    for variable in model.variables:
        summed = variable.shape[:2] if variable.shape[-1] == 1 else variable.shape[:-1]  # depthwise
        variable.assign(rng.uniform(-3, 3, variable.shape) / np.sqrt(np.prod(summed or 100)))
    return model


@pytest.fixture(scope="module")
def net():
    return build()


@pytest.fixture(scope="module")
def files(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    graph, _ = frozen.freeze(net, "net")
    tflite.convert(graph, folder / "net.tflite")
    to_onnx(net, folder / "net.onnx")
    np.save(folder / "pictures.npy", inputs(8, seed=1))
    return folder


def to_onnx(model, path):
    skeleton, kernels = path.with_name("skeleton.onnx"), path.with_name("kernels")
    onnx.convert(frozen.freeze(model, "net")[0], skeleton, kernels)
    onnx.join(skeleton, kernels, path)


def inputs(count, seed):
    return np.random.default_rng(seed).standard_normal((count, 1, SIZE, SIZE, 3)).astype(np.float32)


def lowered(files, format, *names):
    source, target = files / f"net.{format}", files / f"{'-'.join(names)}.{format}"
    assert EXPORTERS[format].lower(str(source), str(target), names) == [*names]
    return target


def kinds(path):
    return [op.kind for op in read(path).ops]


CASES = [("tflite", "hard-swish"), ("tflite", "pools"), ("onnx", "pools"), ("onnx", "align")]


@pytest.mark.parametrize(("format", "name"), CASES)
def test_a_lowered_float_file_computes_the_same(net, files, format, name):
    wanted = np.asarray(net(inputs(4, 2)[:, 0], training=False))
    found = verification.logits(runtimes.open(lowered(files, format, name)), inputs(4, 2))
    assert np.ptp(wanted, axis=0).min() > 2**-8 * np.abs(wanted).max()
    assert np.abs(found - wanted).max() < 2**-18 * np.abs(wanted).max()  # float32 rounds at 2**-24


def test_the_ops_that_are_replaced_are_gone(files):
    assert "HARD_SWISH" in kinds(files / "net.tflite")
    assert "HARD_SWISH" not in kinds(lowered(files, "tflite", "hard-swish"))
    for format, kind in (("tflite", "AVERAGE_POOL_2D"), ("onnx", "AveragePool")):
        assert kinds(files / f"net.{format}").count(kind) == 2
        assert kind not in kinds(lowered(files, format, "pools"))


def quantized(files, format, lowered_by):
    source, target = files / f"net.{format}", files / f"{len(lowered_by)}-int8.{format}"
    arguments = "int8", str(files / "pictures.npy"), None, "float32", lambda event: None
    said = EXPORTERS[format].quantize(str(source), str(target), *arguments, lowered_by=lowered_by)
    return target, said["lowerings"]


def sqnr_db(net, path):
    wanted = np.asarray(net(inputs(16, 3)[:, 0], training=False))
    return verification.sqnr_db(wanted, verification.logits(runtimes.open(path), inputs(16, 3)))


def test_an_int8_graph_is_one_piece_with_lowerings_and_several_without(files):
    whole, applied = quantized(files, "tflite", [*LOWERINGS])
    cut, nothing = quantized(files, "tflite", [])
    assert (applied, nothing) == (["hard-swish", "pools", "scales"], [])
    delegation = runtimes.open(whole).delegation
    assert delegation.partitions == 1 and set(delegation.outside) <= {"QUANTIZE", "DEQUANTIZE"}
    assert runtimes.open(cut).delegation.partitions > 1


def test_what_is_joined_is_not_quantized_once_more(files):
    whole, _ = quantized(files, "tflite", ["scales"])
    cut, _ = quantized(files, "tflite", [])
    assert kinds(whole).count("QUANTIZE") == 1 < kinds(cut).count("QUANTIZE")  # that of the picture


#: What light nets are made of besides, none of which cuts int8.
PARTS = {
    "swish": lambda blocks, x: blocks.activate(x, "swish", name="part"),
    "squeeze and excite": lambda blocks, x: blocks.squeeze_excite(x, 4, activation="swish", name="part"),
    "hard gates": lambda blocks, x: blocks.squeeze_excite(x, 4, gate="hard_sigmoid", name="part"),
    "shuffle": lambda blocks, x: blocks.channel_shuffle(x, 4, name="part"),
    "groups": lambda blocks, x: blocks.TORCH.conv(x, 32, 3, groups=8, name="part"),
    "max pool": lambda blocks, x: blocks.max_pool(x, 3, stride=2, padding="ceil", name="part"),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_light_net_is_one_piece(part, tmp_path):
    import keras

    from edgecls.models import _blocks as blocks

    x = image = keras.Input((SIZE, SIZE, 3))
    x = PARTS[part](blocks, keras.layers.Conv2D(32, 3, strides=2, name="stem")(x))
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    graph, _ = frozen.freeze(keras.Model(image, keras.layers.Dense(5, name="logits")(x)), "net")
    tflite.convert(graph, tmp_path / "net.tflite")
    np.save(tmp_path / "pictures.npy", inputs(2, seed=1))
    path, _ = quantized(tmp_path, "tflite", [*LOWERINGS])
    delegation = runtimes.open(path).delegation
    assert delegation.partitions == 1 and set(delegation.outside) <= {"QUANTIZE", "DEQUANTIZE"}


@pytest.mark.slow
@pytest.mark.parametrize("row", LIGHT.values(), ids=lambda row: row.key)
def test_a_light_row_is_one_piece_and_agrees(row, tmp_path):
    made = edgecls.export(row.key, precisions=["int8"], weights="random", out=tmp_path)
    for one in made:
        delegation = runtimes.open(one.path).delegation
        assert one.manifest.agreement.passed
        assert delegation is None or delegation.partitions == 1 and set(delegation.outside) <= {"QUANTIZE"}


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_an_int8_graph_agrees_as_well_as_without(net, files, format):
    plain, lowered = (sqnr_db(net, quantized(files, format, names)[0]) for names in ([], [*LOWERINGS]))
    assert lowered > plain - 1 and lowered > 20


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        ((4, 3, 1, 1, 1), [1.5, 1, 1, 1.5]),
        ((4, 2, 2, 0, 0), [1, 1]),
        ((5, 3, 2, 1, 1), [1.5, 1, 1.5]),
        ((5, 5, 1, 2, 2), [5 / 3, 5 / 4, 1, 5 / 4, 5 / 3]),
    ],
)
def test_factors_near_the_edges_of_a_picture(axis, expected):
    assert pools.edge_factors(*axis) == pytest.approx(expected)


def test_a_large_pool_stays(tmp_path):
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(image))
    graph, _ = frozen.freeze(keras.Model(image, keras.layers.Dense(2)(x)), "net")
    tflite.convert(graph, tmp_path / "net.tflite")
    assert tflite.lower(str(tmp_path / "net.tflite"), str(tmp_path / "x.tflite"), ["pools"]) == []


def kernels(path):
    graph = read(path)
    return [graph.values(op.inputs[1]) for op in graph.ops if op.kind == "Conv"]


def test_channels_are_aligned(files):
    before, after = (kernels(path) for path in (files / "net.onnx", lowered(files, "onnx", "align")))
    for old, new in zip(before, after, strict=True):
        assert np.sort(new[new != 0]).tolist() == np.sort(old[old != 0]).tolist()
    depthwise = [[len(kernel) for kernel in each if kernel.shape[1] == 1] for each in (before, after)]
    assert depthwise == [[10, 10, 5, 18], [16, 16, 16, 8 + 16 + 5]]


def test_zeros_beside_channels_change_no_bit(tmp_path):
    """All numbers are whole, and so all sums exact in any order. Where what is added is not zero, and is
    read, answers are others."""
    model = build(linear=True)
    for variable in model.variables:
        variable.assign(np.rint(8 * variable.numpy()))
    to_onnx(model, tmp_path / "net.onnx")
    proto = onnx_package.load(tmp_path / "net.onnx")
    assert align.onnx(proto)
    onnx_package.save(proto, tmp_path / "aligned.onnx")
    for tensor in proto.graph.initializer:
        value = numpy_helper.to_array(tensor).copy()
        if tensor.name.endswith("/aligned") and value.dtype == np.float32:
            value[value == 0] = 1
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    onnx_package.save(proto, tmp_path / "wrong.onnx")
    pictures = np.rint(4 * inputs(2, 4))
    paths = (tmp_path / f"{name}.onnx" for name in ("net", "aligned", "wrong"))
    plain, aligned, wrong = (verification.logits(runtimes.open(path), pictures) for path in paths)
    assert len(np.unique(plain)) == plain.size
    assert (aligned == plain).all() and (wrong != plain).any()


def test_a_product_with_a_constant_is_taken_into_a_scale(files, tmp_path):
    plain, _ = quantized(files, "onnx", ["align"])
    model = onnx_package.load(plain)
    products = kinds(plain).count("Mul")
    assert factors.fold(model)
    onnx_package.checker.check_model(model)
    onnx_package.save(model, tmp_path / "folded.onnx")
    assert kinds(tmp_path / "folded.onnx").count("Mul") == products - 6  # one of each hard-swish and gate
    paths = plain, tmp_path / "folded.onnx"
    before, after = (verification.logits(runtimes.open(path), inputs(8, 5)) for path in paths)
    assert np.abs(before - after).max() < 0.01 * np.abs(before).max()
    assert not factors.fold(model)


def test_ranges_of_what_is_joined_are_one(files):
    graph = read(files / "net.tflite")
    found = {tensor.name: (0.0, 1.0) for op in graph.ops for tensor in op.outputs}
    (join, again) = [op for op in graph.ops if op.kind == "CONCATENATION"]
    left, right, cheap = join.inputs
    found[cheap.name] = (0.0, 2.0)
    found[left.name], found[right.name] = (-1.0, 2.0), (0.0, 3.0)
    one = scales.join(graph, found)
    both = [tensor.name for tensor in (left, right, cheap, *join.outputs, *again.outputs)]
    assert [one[name] for name in both] == [(-1.0, 3.0)] * 5
    assert all(one[name] == found[name] for name in found if name not in changed(found, one))
    found[right.name] = (0.0, 0.5)
    assert scales.join(graph, found)[right.name] == (0.0, 0.5)  # too narrow to be widened


def test_a_clamp_of_onnx_is_not_widened_beyond_its_limits(files):
    """The quantizer leaves it to the range's ends to cut off: wider, and it would be no clamp any more."""
    graph = read(files / "net.onnx")
    (join, *_) = [op for op in graph.ops if op.kind == "Concat"]
    makers = {op.outputs[0].name: op.kind for op in graph.ops}
    kinds = [makers[part.name] for part in join.inputs]
    assert kinds == ["Relu", "Relu", "Conv"]
    found = dict.fromkeys([tensor.name for tensor in (*join.inputs, *join.outputs)], (0.0, 2.0))
    found[join.inputs[2].name] = (0.0, 3.0)
    assert {*scales.join(graph, found).values()} == {(0.0, 3.0)}
    found[join.inputs[2].name] = (-1.0, 3.0)
    one = scales.join(graph, found)
    assert [one[part.name] for part in join.inputs] == [(0.0, 2.0), (0.0, 2.0), (-1.0, 3.0)]


def changed(before, after):
    return {name for name in before if before[name] != after[name]}
