"""ONNX files in float16: what stays in float32, and that it does not change what they compute."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecls import runtimes
from edgecls.exporters.onnx import quantize

#: (filters, channels, groups): stays in float32
CONVOLUTIONS = {
    (8, 12, 1): False,
    (12, 12, 12): False,
    (12, 12, 3): True,
    (24, 12, 12): True,  # two filters for each channel
}


@pytest.fixture(params=CONVOLUTIONS, ids=str)
def net(request, tmp_path):
    """(float file, its float16 file, what the exporter said, whether the convolution stays in float32)"""
    filters, channels, groups = request.param
    weights = np.random.default_rng(0).standard_normal((filters, channels // groups, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weights"], ["logits"], group=groups, pads=[1] * 4)],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, channels, 6, 6))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, filters, 6, 6))],
        [numpy_helper.from_array(weights, "weights")],
    )
    source, target = str(tmp_path / "net.onnx"), str(tmp_path / "net-fp16.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    said = quantize(source, target, "fp16", "", None, "float32", emit=None)
    return source, target, said, CONVOLUTIONS[request.param]


def test_convolutions_in_groups_stay_in_float32(net):
    _, target, said, stays = net
    (weights,) = onnx.load(target).graph.initializer
    assert weights.data_type == (TensorProto.FLOAT if stays else TensorProto.FLOAT16)
    assert [note.split(":")[0] for note in said["notes"]] == ["1 convolutions in groups stay in float32"] * stays


def test_global_average_pools_stay_in_float32(tmp_path):
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["image"], ["positive"]),
            helper.make_node("GlobalAveragePool", ["positive"], ["logits"]),
        ],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 9, 9))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, 3, 1, 1))],
    )
    source, target = str(tmp_path / "net.onnx"), str(tmp_path / "net-fp16.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    assert quantize(source, target, "fp16", "", None, "float32", emit=None)["notes"] == []
    nodes = onnx.load(target).graph.node
    before = {name: node for node in nodes for name in node.output}
    (pool,) = (node for node in nodes if node.op_type == "GlobalAveragePool")
    cast = before[pool.input[0]]
    assert (cast.op_type, cast.attribute[0].i) == ("Cast", TensorProto.FLOAT)
    assert before[cast.input[0]].op_type == "Relu"


def test_answers_are_those_of_float(net):
    source, target, _, _ = net
    sessions = [runtimes.open(path) for path in (source, target)]
    inputs = runtimes.random_inputs(sessions[0].inputs)
    (wanted,), (found,) = (runtimes.run(session, inputs) for session in sessions)
    np.testing.assert_allclose(found, wanted, atol=0.02)
    assert not np.array_equal(found, wanted)
