"""Cross-layer equalisation: the same function, channels of like range, and int8 with one scale for each tensor."""

import graph_files
import numpy as np
import pytest

from edgecls import runtimes, verification
from edgecls.exporters import equalisation, onnx, tflite
from edgecls.exporters.calibration import METHOD
from edgecls.graph import read

CHANNELS, SIZE, CLASSES, COUNT = 8, 6, 5, 24
EXPORTERS = {"tflite": tflite, "onnx": onnx}
#: Ranges of channels, four powers of ten apart.
UNEQUAL = np.float32(np.logspace(-2, 2, CHANNELS))


def net(path, activation="relu6"):
    """1x1 convolution, depthwise convolution, 1x1 convolution; channels of the first differ by 10000
    and those of the second the other way."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(CHANNELS, 3)) * UNEQUAL[:, None]
    biases = [0.5 * rng.normal(size=CHANNELS) * UNEQUAL, rng.normal(size=CHANNELS), rng.normal(size=CLASSES)]
    middle, last = rng.normal(size=(CHANNELS, 3, 3)) / UNEQUAL[:, None, None], rng.normal(size=(CLASSES, CHANNELS))
    constants = dict(zip(("b1", "b2", "b3"), map(np.float32, biases), strict=True))
    if path.suffix == ".tflite":
        fused = {"none": 0, "relu": 1, "relu6": 3}[activation]
        conv = {"strideH": 1, "strideW": 1, "fusedActivationFunction": fused}
        ops = [
            ("CONV_2D", "image k1 b1", "one", ("Conv2DOptions", conv)),
            ("DEPTHWISE_CONV_2D", "one k2 b2", "two", ("DepthwiseConv2DOptions", conv | {"depthMultiplier": 1})),
            ("CONV_2D", "two k3 b3", "logits", ("Conv2DOptions", conv | {"fusedActivationFunction": 0})),
        ]
        kernels = first.reshape(CHANNELS, 1, 1, 3), middle.transpose(1, 2, 0)[None], last.reshape(CLASSES, 1, 1, -1)
        shapes = {"image": (1, SIZE, SIZE, 3), "one": (1, SIZE, SIZE, CHANNELS), "two": (1, SIZE, SIZE, CHANNELS)}
        shapes["logits"] = (1, SIZE, SIZE, CLASSES)
    else:
        kind = {"none": "Identity", "relu": "Relu", "relu6": "Clip"}[activation]
        limits = " zero six" if activation == "relu6" else ""
        ops = [
            ("Conv", "image k1 b1", "c1"),
            (kind, f"c1{limits}", "one"),
            ("Conv", "one k2 b2", "c2", {"group": CHANNELS, "pads": [1, 1, 1, 1]}),
            (kind, f"c2{limits}", "two"),
            ("Conv", "two k3 b3", "logits"),
        ]
        kernels = first.reshape(CHANNELS, 3, 1, 1), middle[:, None], last.reshape(CLASSES, CHANNELS, 1, 1)
        shapes = {"image": (1, 3, SIZE, SIZE), "logits": (1, CLASSES, SIZE, SIZE)}
        constants |= {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)} if limits else {}
    constants |= {f"k{number}": np.float32(kernel) for number, kernel in enumerate(kernels, 1)}
    return graph_files.write(path, ops, shapes | constants, inputs="image", outputs="logits")


def pictures(format):
    shape = (COUNT, 1, 3, SIZE, SIZE) if format == "onnx" else (COUNT, 1, SIZE, SIZE, 3)
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def per_tensor(path, held, precision="int8"):
    """(the equalised float file's logits, the quantized file, what was said)."""
    target = path.with_name(f"{precision}{path.suffix}")
    np.save(path.with_name("pictures.npy"), held)
    arguments = precision, str(path.with_name("pictures.npy")), (-1.0, 1.0), "float32", lambda event: None
    said = EXPORTERS[path.suffix[1:]].quantize(str(path), str(target), *arguments, method=METHOD, per_tensor=True)
    equal = target.with_suffix(f".equalised{path.suffix}")
    return verification.logits(runtimes.open(equal), held), target, said["notes"]


@pytest.mark.parametrize("format", EXPORTERS)
@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_the_function_stays_and_int8_with_one_scale_works(tmp_path, monkeypatch, format, activation):
    path, held = net(tmp_path / f"net.{format}", activation), pictures(format)
    right = verification.logits(runtimes.open(path), held)
    equal, target, notes = per_tensor(path, held)
    assert verification.sqnr_db(right, equal) > 90
    assert notes == ["2 of 3 layers are equalised with the next"]
    ratio = verification.sqnr_db(right, verification.logits(runtimes.open(target), held))
    monkeypatch.setattr(equalisation, "_pair", lambda *_: "are left as they are")
    _, target, notes = per_tensor(path, held)
    assert notes == ["0 of 3 layers are equalised with the next; not 3 that are left as they are"]
    assert ratio > 15 > 5 > verification.sqnr_db(right, verification.logits(runtimes.open(target), held))


@pytest.mark.parametrize("format", EXPORTERS)
def test_channels_come_to_have_like_ranges(tmp_path, format):
    path = net(tmp_path / f"net.{format}", "relu")
    layers, _, _ = equalisation.equalise(str(path), pictures(format))
    for layer, axis in ((layers[0], layers[0].gives), (layers[1], layers[1].takes)):
        found = np.abs(np.moveaxis(layer.kernel, axis, 0)).reshape(CHANNELS, -1).max(axis=1)
        assert found.max() < 100 * found.min()


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_weights_have_one_scale_and_every_op_is_an_integers(tmp_path, precision):
    path, held = net(tmp_path / "net.tflite"), pictures("tflite")
    _, target, _ = per_tensor(path, held, precision)
    right = verification.logits(runtimes.open(path), held)
    assert verification.sqnr_db(right, verification.logits(runtimes.open(target), held)) > 15
    graph = read(target)
    # Under the names that the float file has, by which layers are compared.
    assert [op.outputs[0].name for op in graph.ops if op.kind == "MINIMUM"] == ["one", "two"]
    for op in graph.ops[1:-1]:
        assert all("float" not in tensor.dtype for tensor in (*op.inputs, *op.outputs))
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            assert op.inputs[1].quantization.axis is None and len(op.inputs[1].quantization.scale) == 1


@pytest.mark.parametrize("format", EXPORTERS)
def test_what_is_read_twice_is_left_and_said(tmp_path, format):
    shape = (1, 2, 2, 3) if format == "tflite" else (1, 3, 2, 2)
    conv, add = ("CONV_2D", "ADD") if format == "tflite" else ("Conv", "Add")
    kernel = np.float32(np.eye(3)).reshape((3, 1, 1, 3) if format == "tflite" else (3, 3, 1, 1))
    stride = [("Conv2DOptions", {"strideH": 1, "strideW": 1})] if format == "tflite" else []
    ops = [(conv, "image k b", "one", *stride), (conv, "one k2 b2", "two", *stride), (add, "one two", "logits")]
    tensors = {"k": kernel, "k2": kernel + 0, "b": np.zeros(3, np.float32), "b2": np.ones(3, np.float32)}
    path = graph_files.write(
        tmp_path / f"net.{format}",
        ops,
        tensors | dict.fromkeys(("image", "one", "two", "logits"), shape),
        inputs="image",
        outputs="logits",
    )
    _, pairs, words = equalisation.equalise(str(path), np.ones((2, *shape), np.float32))
    assert pairs == []
    assert words == f"0 of 2 layers are equalised with the next; not 1 that are read more than once, 1 that lead into {add}"
