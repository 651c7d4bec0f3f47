"""Model files of one or two ops, written op by op; no converter takes part."""

from __future__ import annotations

import numpy as np


def save_onnx(path, *, input_shape=(1, 3, 4, 4), filters=2, node=None, domain=""):
    """A 1x1 convolution `image` -> `logits`; or `node`, one op with the same two ends."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.linspace(-1, 1, filters * 3, dtype=np.float32).reshape(filters, 3, 1, 1)
    node = node or helper.make_node("Conv", ["image", "weights"], ["logits"], name="conv")
    graph = helper.make_graph(
        [node],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, input_shape)],
        [
            helper.make_tensor_value_info(
                "logits", TensorProto.FLOAT, [input_shape[0], filters, *input_shape[2:]]
            )
        ],
        [numpy_helper.from_array(weights, "weights")],
    )
    opsets = [helper.make_opsetid("", 17)] + [helper.make_opsetid(domain, 1)] * bool(domain)
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def save_tflite(path, *, input_shape=(1, 4, 4, 3), filters=2, open_axes=(), then=None):
    """The same convolution over NHWC, then an op `then` ("FLOOR", or any name for a custom op)."""
    import ai_edge_litert.schema_py_generated as schema
    import flatbuffers

    def tensor(name, shape, buffer=0):
        record = schema.TensorT()
        record.name, record.shape, record.buffer = name, list(shape), buffer
        record.type = schema.TensorType.FLOAT32
        return record

    def op_code(name):
        record = schema.OperatorCodeT()
        builtin = getattr(schema.BuiltinOperator, name, schema.BuiltinOperator.CUSTOM)
        record.builtinCode, record.deprecatedBuiltinCode, record.version = builtin, min(builtin, 127), 1
        if builtin == schema.BuiltinOperator.CUSTOM:
            record.customCode = name
        return record

    def op(code, inputs, outputs):
        record = schema.OperatorT()
        record.opcodeIndex, record.inputs, record.outputs = code, inputs, outputs
        return record

    def buffer(array=None):
        record = schema.BufferT()
        record.data = None if array is None else np.frombuffer(array.tobytes(), np.uint8)
        return record

    image = tensor("image", input_shape)
    if open_axes:
        image.shapeSignature = [-1 if axis in open_axes else size for axis, size in enumerate(input_shape)]
    weights = np.linspace(-1, 1, filters * 3, dtype=np.float32).reshape(filters, 1, 1, 3)
    output_shape = (*input_shape[:3], filters)
    graph = schema.SubGraphT()
    graph.tensors = [
        image,
        tensor("weights", weights.shape, 1),
        tensor("bias", [filters], 2),
        tensor("convolved" if then else "logits", output_shape),
    ]
    conv = op(0, [0, 1, 2], [3])
    conv.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    conv.builtinOptions = schema.Conv2DOptionsT()
    conv.builtinOptions.strideH = conv.builtinOptions.strideW = 1
    conv.builtinOptions.padding = schema.Padding.VALID
    graph.operators = [conv]
    if then:
        graph.tensors.append(tensor("logits", output_shape))
        graph.operators.append(op(1, [3], [4]))
        if then == "SOFTMAX":
            graph.operators[-1].builtinOptionsType = schema.BuiltinOptions.SoftmaxOptions
            graph.operators[-1].builtinOptions = schema.SoftmaxOptionsT()
            graph.operators[-1].builtinOptions.beta = 1.0
    graph.inputs, graph.outputs = [0], [len(graph.tensors) - 1]
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes = [op_code(name) for name in ("CONV_2D", then) if name]
    model.buffers = [buffer(), buffer(weights), buffer(np.zeros(filters, np.float32))]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path
