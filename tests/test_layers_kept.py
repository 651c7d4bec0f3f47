"""Layers of an int8 file that are kept in float or int16."""

import hard
import numpy as np
import pytest

from edgecls import runtimes, verification
from edgecls.errors import WorkFailed
from edgecls.graph import read

FORMATS = ("tflite", "onnx")


def sqnr(source, target):
    right, found = (verification.logits(runtimes.open(path), hard.pictures(8)) for path in (source, target))
    return verification.sqnr_db(right, found)


@pytest.mark.parametrize("format", FORMATS)
def test_a_net_that_int8_ruins_is_cured_by_two_layers_in_float(tmp_path, format):
    source = hard.write(tmp_path / f"net.{format}", 200)
    ruined = sqnr(source, hard.quantized(source))
    one = sqnr(source, hard.quantized(source, layers={"relu": "float"}))
    cured = sqnr(source, hard.quantized(source, layers={"linear": "float", "relu": "float"}))
    assert ruined < 15 and one < 20 and cured > 25


def test_int16_helps_where_activations_are_at_fault_and_not_with_weights_of_8_bits(tmp_path):
    source = hard.write(tmp_path / "net.tflite", 200)
    ruined = sqnr(source, hard.quantized(source))
    target = hard.quantized(source, layers={"linear": "int16", "relu": "int16"})
    assert ruined + 3 < sqnr(source, target) < 25
    types = {tensor.name: tensor.dtype for tensor in read(target).tensors.values()}
    assert (types["linear"], types["mean"]) == ("int16", "int8")


@pytest.mark.parametrize("format", FORMATS)
def test_the_layer_is_in_float_with_its_activation_and_no_other(tmp_path, format):
    source = hard.write(tmp_path / f"net.{format}")
    graph = read(hard.quantized(source, layers={"relu": "float"}))
    kinds = {"Conv", "CONV_2D", "Gemm", "FULLY_CONNECTED"}
    writers = {output: op for op in graph.ops for output in op.outputs}
    in_float = [
        op.inputs[1].dtype == "float32" and (op.inputs[1].constant or not writers[op.inputs[1]].inputs[0].constant)
        for op in graph.ops
        if op.kind in kinds
    ]
    assert in_float == [False, True, False]


def test_ends_in_float_are_float32(tmp_path):
    source = hard.write(tmp_path / "net.tflite")
    with pytest.raises(WorkFailed, match="an end of this graph is in float: it cannot have uint8 input"):
        hard.quantized(source, io="uint8", layers={"logits": "float"})
    graph = read(hard.quantized(source, io="float32", layers={"linear": "float", "logits": "float"}))
    assert graph.inputs[0].dtype == graph.outputs[0].dtype == "float32"
    assert {graph.inputs[0].name, graph.outputs[0].name} == {"image", "logits"}
    assert np.isfinite(sqnr(source, tmp_path / "net-int8.tflite"))
