"""What the TFLite converters leave undone, written into the flatbuffer.

Tensor names and a signature, so that the file says what its ends are; input and output of the type
asked for; weights inside the flatbuffer, aligned, where every reader looks for them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecls.errors import WorkFailed
from edgecls.metadata.schema import ENTRY

SIGNATURE = "serving_default"
INPUT, OUTPUT = "image", "logits"

#: Ends the names of tensors that `limit_channels` adds.
RELU = b"/relu"

#: The schema asks for it: runtimes read weights where they lie in the mapped file.
_ALIGNMENT = 16

_BUILTIN = schema.BuiltinOperator
#: What computes the reciprocal of a layer norm's deviation, last op first.
_DEVIATION = (
    {_BUILTIN.RSQRT},
    {_BUILTIN.ADD},
    {_BUILTIN.MEAN},
    {_BUILTIN.MUL, _BUILTIN.SQUARE, _BUILTIN.SQUARED_DIFFERENCE},
)

#: Stands in the older field of an op's kind for all that have a larger number.
_PLACEHOLDER = 127
#: First versions of QUANTIZE and DEQUANTIZE that know int8, and int16.
_QUANTIZE_VERSION = {schema.TensorType.INT8: 2, schema.TensorType.INT16: 3}
#: The same of MINIMUM.
_MINIMUM_VERSION = {schema.TensorType.INT8: 2, schema.TensorType.INT16: 3}
_INTEGERS = {schema.TensorType.INT8: np.int8, schema.TensorType.INT16: np.int16}


class _AlignedBuffer(schema.BufferT):
    def Pack(self, builder):
        if self.data is None or len(self.data) == 0:
            schema.BufferStart(builder)
            return schema.BufferEnd(builder)
        data = np.asarray(self.data, np.uint8)
        builder.StartVector(1, data.size, _ALIGNMENT)
        builder.head -= data.size
        builder.Bytes[builder.head : builder.head + data.size] = data.tobytes()
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def unpack(data: bytes | bytearray | memoryview) -> schema.ModelT:
    """The flatbuffer as an object; weights stored behind it (`Buffer.offset`) are taken in,
    TFLite metadata is left out."""
    data = memoryview(data)
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 mean that the data, if any, are inside
            buffer.data = np.frombuffer(data[buffer.offset : buffer.offset + buffer.size], np.uint8)
            buffer.offset = buffer.size = 0
        buffer.__class__ = _AlignedBuffer
    _drop_metadata(model)
    return model


def _drop_metadata(model):
    """What the file says of itself is not said of what is made of it; all is numbered as if it had not been there."""
    for entry in [entry for entry in model.metadata or () if entry.name == ENTRY.encode()]:
        model.metadata.remove(entry)
        del model.buffers[entry.buffer]
        others = [tensor for graph in model.subgraphs for tensor in graph.tensors] + model.metadata
        for one in others:
            one.buffer -= one.buffer > entry.buffer
    model.metadata = model.metadata or None


def shapes(data: bytes) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, by name."""
    graph = schema.Model.GetRootAs(data).Subgraphs(0)
    tensors = [graph.Tensors(k) for k in range(graph.TensorsLength())]
    return {t.Name().decode(): tuple(t.Shape(axis) for axis in range(t.ShapeLength())) for t in tensors}


def fragile(data: bytes) -> list[str]:
    """Outputs of the ops that 8 bits ruin.

    Those are the softmax of attention, whose integer kernel knows multiples of 1/256 alone, too few
    for shares among hundreds of tokens, and the ops from the squares of a layer norm to the
    reciprocal of its deviation.
    """
    model = schema.Model.GetRootAs(data)
    graph = model.Subgraphs(0)
    ops = [graph.Operators(k) for k in range(graph.OperatorsLength())]
    writers = {op.Outputs(0): op for op in ops}

    def kind(op):
        return model.OperatorCodes(op.OpcodeIndex()).BuiltinCode()

    found = [op for op in ops if kind(op) == _BUILTIN.SOFTMAX and op.Outputs(0) != graph.Outputs(0)]
    for op in ops:
        chain = []
        for kinds in _DEVIATION:
            if op is None or kind(op) not in kinds:
                break
            chain.append(op)
            op = writers.get(op.Inputs(0))
        else:
            found += chain
    return [graph.Tensors(op.Outputs(0)).Name().decode() for op in found]


def write(model: schema.ModelT, path: Path) -> None:
    for code in model.operatorCodes:  # of ops that it adds the quantizer says ADD here, where older readers look first
        code.deprecatedBuiltinCode = min(code.builtinCode, _PLACEHOLDER)
    weights = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = flatbuffers.Builder(weights + (1 << 20))  # grown once at most: growing copies it all
    builder.Finish(model.Pack(builder), b"TFL3")
    with open(path, "wb") as file:
        file.write(memoryview(builder.Bytes)[builder.Head() :])


def sign(model: schema.ModelT) -> None:
    """Name the two ends of a classifier and describe them in a signature."""
    graph = model.subgraphs[0]
    (source,), (sink,) = graph.inputs, graph.outputs
    graph.tensors[source].name, graph.tensors[sink].name = INPUT.encode(), OUTPUT.encode()
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
    signature.inputs, signature.outputs = [_tensor_map(INPUT, source)], [_tensor_map(OUTPUT, sink)]
    model.signatureDefs = [signature]


def set_io(model: schema.ModelT, dtype: str) -> None:
    """Give an int8 graph ends of `dtype`: "uint8" (the same scale, zero point + 128) or "float32".

    One QUANTIZE is put before and one QUANTIZE or DEQUANTIZE after the graph. "int8" changes nothing.
    A graph of int16 activations can have float32 ends. Raises WorkFailed where an end is in float, but
    another type is wanted of it.
    """
    graph = model.subgraphs[0]
    (source,), (sink,) = graph.inputs, graph.outputs
    integers = [end for end in (source, sink) if graph.tensors[end].type != schema.TensorType.FLOAT32]
    if dtype != "float32" and len(integers) < 2:
        raise WorkFailed(f"an end of this graph is in float: it cannot have {dtype} input and output, but float32")
    if dtype == "int8":
        return
    builtin = schema.BuiltinOperator
    if source in integers:
        new, version = _add_end(graph, source, dtype), _QUANTIZE_VERSION[graph.tensors[source].type]
        graph.operators = [make_operator(model, builtin.QUANTIZE, [new], source, version), *graph.operators]
        graph.inputs, graph.tensors[source].name = [new], b"image_integer"
    if sink in integers:
        new, version = _add_end(graph, sink, dtype), _QUANTIZE_VERSION[graph.tensors[sink].type]
        leave = builtin.QUANTIZE if dtype == "uint8" else builtin.DEQUANTIZE
        graph.operators = [*graph.operators, make_operator(model, leave, [sink], new, version)]
        graph.outputs, graph.tensors[sink].name = [new], b"logits_integer"


def _add_end(graph, inner: int, dtype: str) -> int:
    """A tensor of `dtype` that stands outside of the int8 tensor `inner`."""
    old, new = graph.tensors[inner], schema.TensorT()
    new.name, new.shape, new.shapeSignature, new.buffer = old.name, old.shape, old.shapeSignature, 0
    new.type = {"uint8": schema.TensorType.UINT8, "float32": schema.TensorType.FLOAT32}[dtype]
    if dtype == "uint8":
        new.quantization = schema.QuantizationParametersT()
        new.quantization.scale = old.quantization.scale
        new.quantization.zeroPoint = [int(old.quantization.zeroPoint[0]) + 128]
    graph.tensors.append(new)
    return len(graph.tensors) - 1


def make_operator(
    model: schema.ModelT, builtin: int, sources: Sequence[int], sink: int, version: int = 1, options: object = None
) -> schema.OperatorT:
    """An operator of `sources` and `sink`, tensors by number; options: an object such as AddOptionsT."""
    operator = schema.OperatorT()
    operator.opcodeIndex = _code(model, builtin, version)
    operator.inputs, operator.outputs = sources, [sink]
    if options is not None:
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    return operator


def add_tensor(model: schema.ModelT, name: bytes, shape: Sequence[int], value: np.ndarray | None = None) -> int:
    """The number of a new float tensor; a constant where there is a value."""
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name, shape, schema.TensorType.FLOAT32
    tensor.buffer = 0 if value is None else _add_buffer(model, value.astype(np.float32))
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def replace(
    model: schema.ModelT, builtin: int, by: Callable[[schema.OperatorT], Sequence[schema.OperatorT] | None]
) -> bool:
    """Put others in the place of each operator of a kind, unless there are None; whether there were some."""
    graph, found = model.subgraphs[0], False
    operators = []
    for operator in graph.operators:
        others = by(operator) if model.operatorCodes[operator.opcodeIndex].builtinCode == builtin else None
        operators += [operator] if others is None else others
        found |= others is not None
    graph.operators = operators
    return found


def _code(model, builtin: int, version: int) -> int:
    for number, known in enumerate(model.operatorCodes):
        if (known.builtinCode, known.version) == (builtin, version):
            return number
    entry = schema.OperatorCodeT()
    entry.builtinCode, entry.version = builtin, version
    model.operatorCodes.append(entry)
    return len(model.operatorCodes) - 1


def set_weights(model: schema.ModelT, operator: int, position: int, value: np.ndarray) -> None:
    """Give one operator, by its number, other weights, of the type that they have, as its input at `position`."""
    graph = model.subgraphs[0]
    inputs = graph.operators[operator].inputs
    if sum(int(inputs[position]) in op.inputs for op in graph.operators) > 1:
        graph.tensors.append(copy.copy(graph.tensors[inputs[position]]))
        inputs[position] = len(graph.tensors) - 1
        graph.tensors[-1].name += b"/%d" % operator
    tensor = graph.tensors[inputs[position]]
    tensor.buffer, tensor.shape = _add_buffer(model, value), value.shape


def limit_channels(model: schema.ModelT, limits: Mapping[int, np.ndarray]) -> None:
    """Make ReLU of the ReLU6 inside operators, by their numbers, and a MINIMUM with one limit for
    each channel behind it."""
    graph = model.subgraphs[0]
    behind = {}
    for number, limit in limits.items():
        operator = graph.operators[number]
        operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU
        (sink,) = operator.outputs
        inner, ends = copy.copy(graph.tensors[sink]), schema.TensorT()
        inner.name += RELU
        ends.name, ends.shape = graph.tensors[sink].name + b"/limit", limit.shape
        ends.type = schema.TensorType.FLOAT32
        ends.buffer = _add_buffer(model, limit.astype(np.float32))
        graph.tensors += [inner, ends]
        operator.outputs = [len(graph.tensors) - 2]
        minimum = make_operator(model, _BUILTIN.MINIMUM, [*operator.outputs, len(graph.tensors) - 1], sink, 1)
        minimum.builtinOptionsType = schema.BuiltinOptions.MaximumMinimumOptions
        minimum.builtinOptions = schema.MaximumMinimumOptionsT()
        behind[number] = minimum
    graph.operators = [
        each for number, operator in enumerate(graph.operators) for each in (operator, behind.get(number)) if each
    ]


def limit_integers(model: schema.ModelT) -> None:
    """Let every MINIMUM that `limit_channels` made work on integers: the quantizer leaves it in float,
    with a DEQUANTIZE before and a QUANTIZE behind it, which have the same scale."""
    graph = model.subgraphs[0]
    writers = {operator.outputs[0]: operator for operator in graph.operators}
    readers = {operator.inputs[0]: operator for operator in graph.operators}
    gone = []
    for minimum in graph.operators:
        if model.operatorCodes[minimum.opcodeIndex].builtinCode != _BUILTIN.MINIMUM:
            continue
        enter, leave = writers[minimum.inputs[0]], readers[minimum.outputs[0]]
        ends, inner = graph.tensors[minimum.inputs[1]], graph.tensors[enter.inputs[0]]
        kind = _INTEGERS[inner.type]
        limits = np.frombuffer(model.buffers[ends.buffer].data, np.float32)
        (scale,), (zero,) = inner.quantization.scale, inner.quantization.zeroPoint
        steps = np.clip(np.rint(limits / scale) + zero, np.iinfo(kind).min, np.iinfo(kind).max)
        ends.type, ends.quantization = inner.type, inner.quantization
        ends.buffer = _add_buffer(model, steps.astype(kind))
        behind, limited = (graph.tensors[one.outputs[0]] for one in (leave, minimum))
        behind.name, limited.name = limited.name, behind.name  # as what the float model has there
        minimum.inputs, minimum.outputs = [enter.inputs[0], minimum.inputs[1]], leave.outputs
        minimum.opcodeIndex = _code(model, _BUILTIN.MINIMUM, _MINIMUM_VERSION[inner.type])
        gone += [enter, leave]
    graph.operators = [operator for operator in graph.operators if not any(operator is one for one in gone)]


def _add_buffer(model, value) -> int:
    buffer = _AlignedBuffer()
    buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def drop_unread(model: schema.ModelT) -> None:
    """Empty the buffers that no tensor has any more."""
    read = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    read |= {entry.buffer for entry in model.metadata or ()}
    for number, buffer in enumerate(model.buffers):
        if number not in read:
            buffer.data = None


def _tensor_map(name: str, index: int):
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), int(index)
    return entry
