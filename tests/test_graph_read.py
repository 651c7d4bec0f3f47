"""Reading files: what is in them, what is not read, and files that are no models."""

import random
import tracemalloc

import numpy as np
import pytest

from edgecls.errors import BadFile, EdgeclsError, UsageError
from edgecls.graph import read
from edgecls.graph.cost import cost
from graph_files import weights, write

TFLITE_NET = {
    "ops": [("CONV_2D", "x w b", "c", ("Conv2DOptions", {"strideH": 2, "strideW": 2})), ("RELU", "c", "y")],
    "tensors": {"x": (1, 8, 8, 3), "w": weights(6, 3, 3, 3), "b": weights(6)}
    | dict.fromkeys("cy", (1, 4, 4, 6)),
}
ONNX_NET = {
    "ops": [("Conv", "x w b", "c", {"strides": [2, 2], "pads": [0, 0, 1, 1]}), ("Relu", "c", "y")],
    "tensors": {"x": (1, 3, 8, 8), "w": weights(6, 3, 3, 3), "b": weights(6), "y": (1, 6, 4, 4)},
}
NETS = {"tflite": TFLITE_NET, "onnx": ONNX_NET}
FORMATS = pytest.mark.parametrize("format", NETS)


@FORMATS
def test_graph_holds_what_was_written(tmp_path, format):
    graph = read(write(tmp_path / f"net.{format}", **NETS[format]))
    conv, relu = graph.ops
    x, w, b = conv.inputs
    assert (graph.format, graph.subgraphs, graph.dynamic) == (format, 1, {})
    assert [op.kind for op in graph.ops] == [op[0] for op in NETS[format]["ops"]]
    assert (graph.inputs, relu.inputs, graph.outputs) == ((x,), conv.outputs, relu.outputs)
    assert (x.shape, x.dtype, x.constant) == (NETS[format]["tensors"]["x"], "float32", False)
    assert (w.constant, b.shape, graph.tensors["b"]) == (True, (6,), b)
    np.testing.assert_array_equal(graph.values(w), weights(6, 3, 3, 3))
    assert conv.outputs[0].shape == graph.outputs[0].shape
    assert (conv.index, relu.index, conv.custom) == (0, 1, False)


def test_attributes_are_those_of_the_file(tmp_path):
    conv = read(write(tmp_path / "net.tflite", **TFLITE_NET)).ops[0]
    assert (conv.attributes["strideH"], conv.attributes["fusedActivationFunction"]) == (2, 0)
    conv = read(write(tmp_path / "net.onnx", **ONNX_NET)).ops[0]
    assert conv.attributes == {"strides": [2, 2], "pads": [0, 0, 1, 1]}


def test_metadata_says_which_version_wrote_the_file(tmp_path):
    assert read(write(tmp_path / "net.tflite", **TFLITE_NET)).metadata["schema_version"] == 3
    metadata = read(write(tmp_path / "net.onnx", **ONNX_NET)).metadata
    assert metadata == {"ir_version": 8, "opset": 17, "producer": "by hand"}


def test_inputs_left_out_are_none(tmp_path):
    tensors = {"x": (1, 4), "w": weights(3, 4), "y": (1, 3)}
    graph = read(write(tmp_path / "net.tflite", [("FULLY_CONNECTED", "x w -", "y")], tensors))
    assert graph.ops[0].inputs[2] is None
    tensors = {"x": (4,), "top": weights(), "y": (4,)}
    graph = read(write(tmp_path / "net.onnx", [("Clip", "x - top", "y")], tensors))
    assert graph.ops[0].inputs[1] is None


@FORMATS
def test_open_batch_is_one(tmp_path, format):
    graph = read(write(tmp_path / f"net.{format}", **NETS[format], open_batch=True))
    fixed = read(write(tmp_path / f"fixed.{format}", **NETS[format]))
    assert (graph.dynamic, graph.inputs[0].shape) == ({"x": (0,)}, fixed.inputs[0].shape)
    assert cost(graph) == cost(fixed)


def test_other_open_sizes_are_refused_by_name(tmp_path):
    path = write(tmp_path / "net.onnx", [("Relu", "x", "y")], dict.fromkeys("xy", (1, 3, None, "width")))
    with pytest.raises(UsageError, match=r"input 'x' of shape \(1, 3, \?, \?\)"):
        read(path)


def test_quantization_of_a_tflite_tensor(tmp_path):
    import ai_edge_litert.schema_py_generated as schema
    import flatbuffers

    path = write(tmp_path / "net.tflite", **TFLITE_NET)
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    for tensor, scale in zip(model.subgraphs[0].tensors, ([0.5], [1, 2, 3, 4, 5, 6]), strict=False):
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = scale, [7] * len(scale)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    x, w, b = read(path).ops[0].inputs
    assert (x.quantization.scale, x.quantization.zero_point, x.quantization.axis) == (0.5, 7, None)
    assert (w.quantization.scale.tolist(), w.quantization.axis) == ([1, 2, 3, 4, 5, 6], 0)
    assert b.quantization is None


def test_tflite_weights_behind_the_flatbuffer(tmp_path):
    import ai_edge_litert.schema_py_generated as schema
    import flatbuffers

    path = write(tmp_path / "net.tflite", **TFLITE_NET)
    kernel = weights(6, 3, 3, 3).tobytes()
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, 4096, len(kernel)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()).ljust(4096, b"\0") + kernel)
    graph = read(path)
    np.testing.assert_array_equal(graph.values(graph.tensors["w"]), weights(6, 3, 3, 3))
    assert cost(graph).params == 6 * 27 + 6
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadFile, match="cut short"):
        read(path)


def test_onnx_weights_in_another_file_are_not_needed_for_counting(tmp_path):
    import onnx

    path = write(tmp_path / "net.onnx", **ONNX_NET)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="net.data", size_threshold=0)
    graph = read(path)
    np.testing.assert_array_equal(graph.values(graph.tensors["w"]), weights(6, 3, 3, 3))
    (tmp_path / "net.data").unlink()
    graph = read(path)
    assert cost(graph).params == 6 * 27 + 6
    with pytest.raises(BadFile, match="net.data cannot be read"):
        graph.values(graph.tensors["w"])


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_weights_stay_in_the_file(tmp_path, suffix):
    kind = {".tflite": "FULLY_CONNECTED", ".onnx": "Gemm"}[suffix]
    big = np.ones((2000, 2000), np.float32)
    tensors = {"x": (1, 2000), "w": big, "y": (1, 2000)}
    path = write(tmp_path / f"net{suffix}", [(kind, "x w", "y")], tensors)
    read(path)  # what is imported meanwhile is not counted
    tracemalloc.start()
    try:
        graph = read(path)
        values = graph.values(graph.tensors["w"])
        assert cost(graph).macs == 2000 * 2000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < big.nbytes / 20
    np.testing.assert_array_equal(values, big)


def test_no_runtime_is_imported(tmp_path):
    import subprocess
    import sys

    for format, net in NETS.items():
        write(tmp_path / f"net.{format}", **net)
    code = (
        "import sys; from edgecls.graph import read; from edgecls.graph.cost import cost\n"
        "assert not {'onnx', 'ai_edge_litert', 'numpy'} & set(sys.modules)\n"
        f"for suffix in ('tflite', 'onnx'): cost(read({str(tmp_path / 'net.')!r} + suffix))\n"
        "print({'tensorflow', 'keras', 'onnxruntime', 'ai_edge_litert.interpreter'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_shapes_that_data_propagation_does_not_follow_are_computed(tmp_path):
    # tf2onnx's product of matrices with two batch axes.
    ops = [
        ("Relu", "x", "a"),
        ("Shape", "a", "s"),
        ("Gather", "s axes", "batch"),
        ("ReduceProd", "batch", "p"),
        ("Gather", "s last", "rest"),
        ("Concat", "p rest", "t", {"axis": 0}),
        ("Reshape", "a t", "r"),
        ("MatMul", "r w", "y"),
    ]
    tensors = {"x": (2, 3, 5, 4), "w": weights(4, 7), "y": (6, 5, 7)}
    tensors |= {"axes": np.array([0, 1]), "last": np.array([2, 3])}
    graph = read(write(tmp_path / "net.onnx", ops, tensors))
    assert graph.tensors["r"].shape == (6, 5, 4)
    assert cost(graph).macs == 6 * 5 * 7 * 4


def test_onnx_nodes_may_stand_in_any_order(tmp_path):
    net = ONNX_NET | {"ops": ONNX_NET["ops"][::-1]}
    assert [op.kind for op in read(write(tmp_path / "net.onnx", **net)).ops] == ["Conv", "Relu"]


def test_onnx_constants_in_nodes_are_constants(tmp_path):
    import onnx
    from onnx import helper, numpy_helper

    path = write(tmp_path / "net.onnx", **ONNX_NET)
    model = onnx.load(path)
    kernel = model.graph.initializer.pop(0)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=kernel))
    onnx.save(model, path)
    graph = read(path)
    assert len(graph.ops) == 2 and cost(graph).params == 6 * 27 + 6
    np.testing.assert_array_equal(graph.values(graph.tensors["w"]), numpy_helper.to_array(kernel))


# Files that are no models.


def refused(path) -> str:
    with pytest.raises(BadFile) as error:
        read(path)
    message = str(error.value)
    assert "\n" not in message and str(path) in message
    return message


@FORMATS
def test_what_is_no_file_is_said(tmp_path, format):
    path = tmp_path / f"net.{format}"
    assert "No such file" in refused(path)
    path.mkdir()
    assert "directory" in refused(path)


@FORMATS
def test_empty_file_is_refused(tmp_path, format):
    path = tmp_path / f"net.{format}"
    path.touch()
    assert "empty" in refused(path)


@FORMATS
@pytest.mark.parametrize("content", [b"\0", b"text, no model\n" * 9, b"\x89PNG\r\n\x1a\n" + bytes(99)])
def test_files_of_another_kind_are_refused(tmp_path, format, content):
    path = tmp_path / f"net.{format}"
    path.write_bytes(content)
    assert "is not a" in refused(path)


def test_each_format_under_the_others_name_is_refused(tmp_path):
    write(tmp_path / "a.onnx", **ONNX_NET).rename(tmp_path / "a.tflite")
    write(tmp_path / "b.tflite", **TFLITE_NET).rename(tmp_path / "b.onnx")
    assert "is not a TFLite model" in refused(tmp_path / "a.tflite")
    assert "is not an ONNX model" in refused(tmp_path / "b.onnx")


def test_other_suffixes_are_refused(tmp_path):
    assert ".tflite or .onnx" in refused(tmp_path / "net.pt")


def test_onnx_tensor_that_nothing_writes_is_named(tmp_path):
    path = write(tmp_path / "net.onnx", [("Add", "x ghost", "y")], {"x": (4,), "y": (4,)})
    assert "'op of y' reads 'ghost'" in refused(path)


@FORMATS
def test_every_truncation_is_refused(tmp_path, format):
    path = write(tmp_path / f"net.{format}", **NETS[format])
    whole = path.read_bytes()
    for length in range(1, len(whole), max(1, len(whole) // 300)):
        path.write_bytes(whole[:length])
        refused(path)


@FORMATS
def test_random_bytes_behind_the_right_start_are_refused(tmp_path, format):
    path = write(tmp_path / f"net.{format}", **NETS[format])
    start = path.read_bytes()[:8]
    for seed in range(200):
        path.write_bytes(start + random.Random(seed).randbytes(2000))
        refused(path)


@FORMATS
def test_flipped_bits_raise_no_other_errors(tmp_path, format):
    path = write(tmp_path / f"net.{format}", **NETS[format])
    whole = path.read_bytes()
    outcomes = set()
    for seed in range(400):
        rng = random.Random(seed)
        damaged = bytearray(whole)
        for position in rng.sample(range(len(damaged)), rng.choice((1, 1, 1, 8))):
            damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            graph = read(path)
            cost(graph)
            for tensor in graph.tensors.values():
                if tensor.constant:
                    graph.values(tensor)
            outcomes.add("read")
        except EdgeclsError as error:
            assert "\n" not in str(error)
            outcomes.add(type(error).__name__)
    assert {"read", "BadFile"} <= outcomes
