"""Shapes and types of the tensors inside an ONNX graph, which the file need not tell."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, TypeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import infer_shapes

#: Operators that ONNX has no shape inference for: one whose output has the same shape and type, and
#: which of the inputs it takes. ONNX Runtime's quantizer and optimizer write them.
STAND_INS: dict[str, tuple[str, tuple[int, ...] | slice]] = {
    "LayerNormalization": ("Identity", (0,)),  # before opset 17 it is ONNX Runtime's
    "com.microsoft.BiasGelu": ("Add", (0, 1)),
    "com.microsoft.DequantizeLinear": ("DequantizeLinear", (0, 1, 2)),
    "com.microsoft.FusedConv": ("Conv", (0, 1)),
    "com.microsoft.FusedGemm": ("Gemm", (0, 1)),
    "com.microsoft.Gelu": ("Identity", (0,)),
    "com.microsoft.QGemm": ("Gemm", (0, 3)),
    "com.microsoft.QLinearAdd": ("Add", (0, 3)),
    "com.microsoft.QLinearAveragePool": ("AveragePool", (0,)),
    "com.microsoft.QLinearConcat": ("Concat", slice(2, None, 3)),
    "com.microsoft.QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "com.microsoft.QLinearLeakyRelu": ("Identity", (0,)),
    "com.microsoft.QLinearMul": ("Mul", (0, 3)),
    "com.microsoft.QLinearSigmoid": ("Identity", (0,)),
    "com.microsoft.QLinearSoftmax": ("Identity", (0,)),
    "com.microsoft.QLinearWhere": ("Where", (0, 1, 4)),
    "com.microsoft.QuantizeLinear": ("QuantizeLinear", (0, 1, 2)),
    "com.microsoft.QuickGelu": ("Identity", (0,)),
    "com.microsoft.SkipLayerNormalization": ("Identity", (0,)),
}

#: What exporters compute shapes with. ONNX's own inference follows some of it; tf2onnx writes more.
SHAPE_MATH = frozenset(
    """
    Add Cast Concat ConstantOfShape Div Equal Expand Gather Max Min Mul Range ReduceProd Reshape Slice
    Squeeze Sub Unsqueeze Where
    """.split()
)


def kind_of(node: NodeProto) -> str:
    """The operator, with its domain before it where that is not ONNX's own."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def infer(original: onnx.ModelProto) -> dict[str, TypeProto]:
    """Types of all computed tensors that can be inferred; the sizes of the inputs must be known.

    Raises onnx's InferenceError for a graph that makes no sense.
    """
    model = _prepared(original)
    computed: dict[str, np.ndarray] = {}
    while True:
        graph = infer_shapes(model, data_prop=True).graph
        types = {value.name: value.type for value in (*graph.input, *graph.value_info, *graph.output)}
        written = [name for node in model.graph.node for name in node.output if name]
        if all(name in types and closed_shape(types[name]) is not None for name in written):
            break
        fresh = _compute(model, types)
        if not fresh:
            break
        computed |= fresh
    for name, value in computed.items():
        dtype = helper.np_dtype_to_tensor_dtype(value.dtype)
        types[name] = helper.make_tensor_type_proto(dtype, value.shape)
    return types


def closed_shape(kind: TypeProto) -> tuple[int, ...] | None:
    """None unless every size is known."""
    sizes = tuple(size_of(dim) for dim in kind.tensor_type.shape.dim)
    return sizes if kind.tensor_type.HasField("shape") and None not in sizes else None


def size_of(dim: onnx.TensorShapeProto.Dimension) -> int | None:
    return dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None


def _prepared(original: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with stand-ins for what inference does not know, and without shapes left half open."""
    model = onnx.ModelProto()
    model.CopyFrom(original)
    model.ir_version = max(model.ir_version, 4)  # from there on an initializer need not be an input
    for node in model.graph.node:
        kind, choice = STAND_INS.get(kind_of(node), (None, ()))
        channels_last = any(attribute.name == "channels_last" and attribute.i for attribute in node.attribute)
        if kind and not channels_last:
            inputs = list(node.input)
            node.op_type, node.domain = kind, ""
            del node.input[:], node.output[1:]
            node.input.extend(inputs[choice] if isinstance(choice, slice) else [inputs[i] for i in choice])
    closed = [value for value in model.graph.value_info if closed_shape(value.type) is not None]
    del model.graph.value_info[:]
    model.graph.value_info.extend(closed)
    for value in model.graph.output:
        if closed_shape(value.type) is None:
            value.type.tensor_type.ClearField("shape")
    return model


def _compute(model: onnx.ModelProto, types: dict[str, TypeProto]) -> dict[str, np.ndarray]:
    """Replace the nodes whose inputs are all shapes or small constants by their results, and return those."""
    values = {
        proto.name: numpy_helper.to_array(proto)
        for proto in model.graph.initializer
        if proto.data_location != TensorProto.EXTERNAL and len(proto.dims) <= 1
    }
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    fresh, waiting = {}, []
    for node in model.graph.node:
        value = None
        shape = closed_shape(types.get(node.input[0], TypeProto())) if node.op_type == "Shape" else None
        if shape is not None:
            bounds = {attribute.name: attribute.i for attribute in node.attribute}
            value = np.array(shape[bounds.get("start") : bounds.get("end")], np.int64)
        elif node.op_type in SHAPE_MATH and all(name in values for name in node.input if name):
            value = _run(node, values, opsets)
        if value is None:
            waiting.append(node)
        else:
            values[node.output[0]] = fresh[node.output[0]] = value
    del model.graph.node[:]
    model.graph.node.extend(waiting)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in fresh.items())
    return fresh


def _run(node: NodeProto, values: dict[str, np.ndarray], opsets: dict[str, int]) -> np.ndarray | None:
    """What `node` computes. None where it fails: who needs the shape will say that it is unknown."""
    try:
        feeds = {name: values[name] for name in node.input if name}
        return ReferenceEvaluator(node, opsets=opsets).run(None, feeds)[0]
    except Exception:
        return None
