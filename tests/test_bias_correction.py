"""What rounded weights add to a layer's outputs on average is taken off its biases."""

import graph_files
import numpy as np
import pytest

import edgecls
from edgecls.exporters import activations, bias_correction
from edgecls.graph import read

VALID = {"padding": 1, "strideW": 1, "strideH": 1}
#: Layers from x to y: (op, shapes of x, kernel w and y).
LAYERS = {
    "CONV_2D": (("CONV_2D", "x w b", "y", ("Conv2DOptions", VALID)), (1, 6, 6, 4), (3, 3, 3, 4), (1, 4, 4, 3)),
    "CONV_2D in groups": (
        ("CONV_2D", "x w b", "y", ("Conv2DOptions", VALID)),
        (1, 6, 6, 4),
        (6, 3, 3, 2),
        (1, 4, 4, 6),
    ),
    "DEPTHWISE_CONV_2D": (
        ("DEPTHWISE_CONV_2D", "x w b", "y", ("DepthwiseConv2DOptions", VALID | {"depthMultiplier": 2})),
        (1, 6, 6, 4),
        (1, 3, 3, 8),
        (1, 4, 4, 8),
    ),
    "FULLY_CONNECTED": (("FULLY_CONNECTED", "x w b", "y"), (1, 5), (7, 5), (1, 7)),
    "Conv": (("Conv", "x w b", "y"), (1, 4, 6, 6), (3, 4, 3, 3), (1, 3, 4, 4)),
    "Conv in groups": (("Conv", "x w b", "y", {"group": 2}), (1, 4, 6, 6), (6, 2, 3, 3), (1, 6, 4, 4)),
    "depthwise Conv": (("Conv", "x w b", "y", {"group": 4}), (1, 4, 6, 6), (4, 1, 3, 3), (1, 4, 4, 4)),
    "Gemm": (("Gemm", "x w b", "y"), (1, 5), (5, 7), (1, 7)),
    "transposed Gemm": (("Gemm", "x w b", "y", {"transB": 1}), (1, 5), (7, 5), (1, 7)),
}


def written(path, name, kernel):
    op, x, _, y = LAYERS[name]
    outputs = y[1] if "Conv" in name else y[-1]
    return graph_files.write(path, [op], {"x": x, "y": y, "w": kernel, "b": np.ones(outputs, np.float32)})


def computed(path, picture):
    return dict(activations.open(str(path))(picture))["y"]


@pytest.mark.parametrize("name", LAYERS)
def test_the_shift_is_what_a_runtime_computes_more(tmp_path, name):
    rng = np.random.default_rng(0)
    _, shape, kernel, _ = LAYERS[name]
    kernel = rng.normal(size=kernel).astype(np.float32)
    rounded = np.rint(kernel * 4).astype(np.float32) / 4
    path = written(tmp_path / f"net.{'tflite' if name.isupper() or '_2D' in name else 'onnx'}", name, kernel)
    (layer,) = bias_correction.layers(read(path)).values()
    mean = rng.normal(size=shape[layer.channels])
    along = [1] * len(shape)
    along[layer.channels] = -1
    picture = np.broadcast_to(mean.reshape(along), shape).astype(np.float32).copy()
    more = computed(written(tmp_path / f"rounded{path.suffix}", name, rounded), picture) - computed(path, picture)
    everywhere = np.moveaxis(more, layer.channels, 0).reshape(more.shape[layer.channels], -1)
    np.testing.assert_allclose(everywhere, everywhere[:, :1] * np.ones(everywhere.shape), atol=1e-5)
    np.testing.assert_allclose(layer.shift(rounded, mean), everywhere[:, 0], atol=1e-5)
    assert np.abs(everywhere).max() > 0.1


@pytest.mark.parametrize("attributes", [{"alpha": 0.5}, {"beta": 2.0}, {"transA": 1}])
def test_a_dense_layer_that_does_more_than_multiply_and_add_is_left(tmp_path, attributes):
    shapes = {"x": (5, 1) if "transA" in attributes else (1, 5), "y": (1, 7)}
    constants = {"w": graph_files.weights(5, 7), "b": graph_files.weights(7)}
    path = graph_files.write(tmp_path / "net.onnx", [("Gemm", "x w b", "y", attributes)], shapes | constants)
    assert bias_correction.layers(read(path)) == {}


def test_a_dense_layer_that_flattens_what_it_gets_is_left(tmp_path):
    tensors = {"x": (1, 2, 2, 3), "w": graph_files.weights(7, 12), "b": graph_files.weights(7), "y": (1, 7)}
    path = graph_files.write(tmp_path / "net.tflite", [("FULLY_CONNECTED", "x w b", "y")], tensors)
    assert bias_correction.layers(read(path)) == {}


@pytest.mark.parametrize(("format", "precision"), [("tflite", "int8"), ("tflite", "int16x8"), ("onnx", "int8")])
def test_a_deep_net_with_random_weights_loses_less(inline, tmp_path, monkeypatch, format, precision):
    options = {"formats": format, "precisions": precision, "weights": "random"}
    agreement = {}
    for name in ("corrected", "not"):
        if name == "not":
            monkeypatch.setattr(bias_correction, "layers", lambda graph: {})
        (made,) = edgecls.export("resnet20_cifar", **options, out=tmp_path / name)[-1:]
        agreement[name] = made.manifest.agreement.sqnr_db
    assert agreement["corrected"] > agreement["not"] + 2
