"""Small .tflite and .onnx files, written op by op from one description; no converter takes part."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write(path, ops, tensors, *, inputs="x", outputs="y", **options) -> Path:
    """A file of the kind its suffix says.

    ops: (kind, names of inputs, names of outputs[, attributes]), names parted by blanks, "-" for an
        input left out. tensors: name -> an array, which is a constant, or a shape, float32, or
        (shape, dtype). ONNX needs the inputs' and outputs' only.
    """
    tensors = {name: _tensor(given) for name, given in tensors.items()}
    ops = [(kind, reads.split(), writes.split(), *more) for kind, reads, writes, *more in ops]
    save = {".tflite": _save_tflite, ".onnx": _save_onnx}[Path(path).suffix]
    save(path, ops, tensors, inputs.split(), outputs.split(), **options)
    return Path(path)


def weights(*shape, dtype=np.float32) -> np.ndarray:
    """A constant without zeros."""
    return np.asarray(np.arange(np.prod(shape)).reshape(shape) % 100 + 1, dtype)


def _tensor(given):
    """(shape, dtype, array or None)"""
    if isinstance(given, np.ndarray):
        return given.shape, given.dtype.name, given
    shape, dtype = given if len(given) == 2 and isinstance(given[1], str) else (given, "float32")
    return tuple(shape), dtype, None


def _save_onnx(path, ops, tensors, inputs, outputs, *, open_batch=False):
    import onnx
    from onnx import helper, numpy_helper

    def value(name):
        shape, dtype, _ = tensors[name]
        shape = ("batch", *shape[1:]) if open_batch and name in inputs else shape
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

    nodes = []
    for kind, reads, writes, *attributes in ops:
        domain, _, op_type = kind.rpartition(".")
        reads = ["" if name == "-" else name for name in reads]
        node = helper.make_node(op_type, reads, writes, domain=domain, **dict(*attributes))
        node.name = f"op of {writes[0]}"
        nodes.append(node)
    arrays = {name: array for name, (_, _, array) in tensors.items() if array is not None}
    graph = helper.make_graph(
        nodes,
        "small",
        inputs=[value(name) for name in inputs],
        outputs=[value(name) for name in outputs],
        initializer=[numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    domains = {kind.rpartition(".")[0] for kind, *_ in ops} - {""}
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="by hand"), path)


def _save_tflite(path, ops, tensors, inputs, outputs, *, open_batch=False, graphs=1):
    """Attributes are (name of the options table, its fields)."""
    import ai_edge_litert.schema_py_generated as schema
    import flatbuffers

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs = 3, [graph] * graphs
    model.buffers, graph.tensors = [schema.BufferT()], []
    names = list(tensors)
    for name, (shape, dtype, array) in tensors.items():
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name, list(shape)
        tensor.type = getattr(schema.TensorType, dtype.upper())
        if array is not None:
            tensor.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(array.tobytes(), np.uint8)
        if open_batch and array is None:
            tensor.shapeSignature = [-1, *shape[1:]]
        graph.tensors.append(tensor)
    kinds = sorted({kind for kind, *_ in ops})
    model.operatorCodes, graph.operators = [_code(kind) for kind in kinds], []
    for kind, reads, writes, *attributes in ops:
        op = schema.OperatorT()
        op.opcodeIndex = kinds.index(kind)
        op.inputs = [-1 if name == "-" else names.index(name) for name in reads]
        op.outputs = [names.index(name) for name in writes]
        for table, fields in attributes:
            op.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            op.builtinOptions = getattr(schema, f"{table}T")(**fields)
        graph.operators.append(op)
    graph.inputs = [names.index(name) for name in inputs]
    graph.outputs = [names.index(name) for name in outputs]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    Path(path).write_bytes(builder.Output())


def _code(kind):
    import ai_edge_litert.schema_py_generated as schema

    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind, schema.BuiltinOperator.CUSTOM)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    if code.builtinCode == schema.BuiltinOperator.CUSTOM:
        code.customCode = kind
    return code
