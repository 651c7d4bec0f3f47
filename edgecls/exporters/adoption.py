"""A float .tflite or .onnx file of the user's, written as one of ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgecls.errors import BadFile, UsageError, WorkFailed
from edgecls.exporters._onnx_names import rename
from edgecls.exporters._onnx_simplify import simplify
from edgecls.exporters.frozen import INPUT, OUTPUT
from edgecls.keras_file import check_ends, side

#: What older .onnx files are brought to, and the first opset that has scales per channel.
_OPSET, _PER_CHANNEL_OPSET = 17, 13
#: The first version of the format in which weights are no inputs.
_IR_VERSION = 4
_QUANTIZED_OPS = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger"}
_QUANTIZED = "is quantized already; give the float32 model it was made from"
_HALF = "is in float16; give the float32 model it was made from"
#: Last ops that make probabilities of logits, and those that may stand behind them.
_PROBABILITIES = {"SOFTMAX": "softmax", "SIGMOID": "sigmoid", "LOGISTIC": "sigmoid"}
_VIEWS = {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "RESHAPE", "SQUEEZE"}


def adopt_tflite(source: str, target: str, input_size: int | None, emit) -> dict[str, Any]:
    """Child process: write a float .tflite with our names, our signature, and no size left open.

    input_size: of a model that takes pictures of any size, pixels. Returns the model's facts, as
    `making.make` has them. Raises BadFile, UsageError for one that is not a float classifier.
    """
    from edgecls.exporters import flatbuffer

    name = Path(source).name
    try:
        model = flatbuffer.unpack(Path(source).read_bytes())
    except Exception as error:  # damaged flatbuffers make their reader raise anything
        raise BadFile(f"{name} is not a .tflite file") from error
    graph = model.subgraphs[0]
    _check_tflite(name, model, graph)
    image, logits = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    given = [int(size) for size in (image.shape if image.shapeSignature is None else image.shapeSignature)]
    shape, layout, notes = _closed(name, given, input_size)
    if given[1:] != shape[1:]:
        _resize(source, name, graph, shape)
    seen = {INPUT, OUTPUT}
    for place, tensor in enumerate(graph.tensors):
        tensor.shapeSignature = None
        if (label := (tensor.name or b"").decode()) in seen:
            tensor.name = f"{label}/{place}".encode()
        seen.add(label)
    writers = {int(op.outputs[0]): op for op in graph.operators}
    last = int(graph.outputs[0])
    while last in writers and (kind := _kind(model, writers[last])) in _VIEWS:
        last = int(writers[last].inputs[0])
    answers = [int(size) for size in logits.shape]
    facts = _facts(name, shape, layout, answers, kind if last in writers else "", notes)
    flatbuffer.sign(model)
    flatbuffer.write(model, Path(target))
    return facts


def _check_tflite(name, model, graph):
    """Raise UsageError for what is not a float graph with two ends."""
    from ai_edge_litert.schema_py_generated import TensorType

    check_ends(name, *([graph.tensors[k].name.decode() for k in end] for end in (graph.inputs, graph.outputs)))
    custom = sorted(code.customCode.decode() for code in model.operatorCodes if code.customCode)
    if custom:
        raise UsageError(f"{name} needs custom ops that phones have not: {', '.join(custom)}")
    if any(tensor.quantization and tensor.quantization.scale is not None for tensor in graph.tensors):
        raise UsageError(f"{name} {_QUANTIZED}")
    if any(tensor.type == TensorType.FLOAT16 for tensor in graph.tensors):
        raise UsageError(f"{name} {_HALF}")
    kinds = {value: kind.lower() for kind, value in vars(TensorType).items()}
    _check_type(name, kinds[graph.tensors[graph.inputs[0]].type])


def _kind(model, operator) -> str:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    code = model.operatorCodes[operator.opcodeIndex].builtinCode
    return next(kind for kind, value in vars(BuiltinOperator).items() if value == code)


def _resize(source, name, graph, shape):
    """Give all tensors of a graph the shapes that they have with pictures of `shape`."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # a delegate's tensors tell no shapes
    interpreter = Interpreter(model_path=source, experimental_op_resolver_type=plain)
    interpreter.resize_tensor_input(int(graph.inputs[0]), shape)
    try:
        interpreter.allocate_tensors()
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{name} cannot take pictures of {_shown(shape)}: {reason}") from error
    for details in interpreter.get_tensor_details():
        if details["index"] < len(graph.tensors):
            graph.tensors[details["index"]].shape = details["shape"]


def adopt_onnx(source: str, target: str, input_size: int | None, emit) -> dict[str, Any]:
    """Child process: the same for a float .onnx, which is simplified too. Raises WorkFailed as well."""
    import onnx

    name = Path(source).name
    try:
        model = onnx.load(source)
        onnx.checker.check_model(model)
    except Exception as error:  # whatever protobuf or the checker says of a damaged file
        raise BadFile(f"{name} is not a valid .onnx file: {_first_line(error)}") from error
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    for value in [value for value in graph.input if value.name in weights]:
        graph.input.remove(value)  # weights listed as inputs may be changed by who runs a file, and are not folded
    model.ir_version = max(model.ir_version, _IR_VERSION)
    _check_onnx(name, graph)
    (image,), (logits,) = graph.input, graph.output
    dims = image.type.tensor_type.shape.dim
    shape, layout, notes = _closed(name, [dim.dim_value or dim.dim_param or "?" for dim in dims], input_size)
    for dim, size in zip(dims, shape, strict=True):
        dim.dim_value = size
    del graph.value_info[:]  # for the sizes it had
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        if any(entry.domain == "" and entry.version < _PER_CHANNEL_OPSET for entry in model.opset_import):
            model = onnx.version_converter.convert_version(model, _OPSET)
    except Exception as error:  # theirs are children of Exception, or RuntimeError
        raise UsageError(f"{name} cannot be taken with pictures of {_shown(shape)}: {_first_line(error)}") from error
    out = [dim.dim_value for dim in inferred.graph.output[0].type.tensor_type.shape.dim]
    out[:1] = [batch or 1 for batch in out[:1]]
    facts = _facts(name, shape, layout, out, _last_kind(graph), notes)
    for dim, size in zip(model.graph.output[0].type.tensor_type.shape.dim, out, strict=True):
        dim.dim_value = size
    names = {name: f"{name}/inner" for name in (INPUT, OUTPUT)} | {image.name: INPUT, logits.name: OUTPUT}
    rename(model.graph, names)
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    raw = Path(target).with_suffix(".raw.onnx")
    onnx.save(model, raw)
    try:
        simplify(raw, Path(target))
    except Exception as error:  # each of ONNX Runtime's is a child of Exception and of nothing else
        raise WorkFailed(f"ONNX Runtime refuses {name}: {_first_line(error).replace(str(raw), name)}") from error
    raw.unlink()
    return facts


def _check_onnx(name, graph):
    """Raise UsageError for what is not a float graph with two ends."""
    from onnx import TensorProto

    check_ends(name, *([value.name for value in end] for end in (graph.input, graph.output)))
    types = {tensor.data_type for tensor in graph.initializer}
    if {node.op_type for node in graph.node} & _QUANTIZED_OPS or types & {TensorProto.INT8, TensorProto.UINT8}:
        raise UsageError(f"{name} {_QUANTIZED}")
    if TensorProto.FLOAT16 in types:
        raise UsageError(f"{name} {_HALF}")
    kind = TensorProto.DataType.Name(graph.input[0].type.tensor_type.elem_type)
    _check_type(name, {"FLOAT": "float32", "DOUBLE": "float64"}.get(kind, kind.lower()))


def _last_kind(graph) -> str:
    writers = {node.output[0]: node for node in graph.node}
    node = writers.get(graph.output[0].name)
    while node is not None and node.op_type in _VIEWS:
        node = writers.get(node.input[0])
    return node.op_type if node is not None else ""


def _check_type(name, kind):
    if kind != "float32":
        raise UsageError(f"{name} takes {kind} pictures, expected float32")


def _closed(name: str, shape: Sequence[int | str], input_size: int | None) -> tuple[list[int], str, list[str]]:
    """(shape of a picture, layout, notes): open sizes, which are words, 0 or negative, are closed.

    Raises UsageError for the shape of anything but one square picture.
    """
    sizes = [size if isinstance(size, int) and size > 0 else None for size in shape]
    layouts = {"NHWC": slice(1, 3), "NCHW": slice(2, 4)}
    possible = [one for one in layouts if len(sizes) == 4 and sizes[one.index("C")] in (1, 3)]
    if not possible:
        raise UsageError(f"{name} takes input of shape {_shown(shape)}, expected a picture of 1 or 3 channels")
    layout = next((one for one in possible if len(set(sizes[layouts[one]])) == 1), possible[0])
    rows, notes = layouts[layout], []
    if sizes[0] not in (1, None):
        raise UsageError(f"{name} takes {sizes[0]} pictures at once, expected 1 or any number")
    if sizes[0] is None:
        notes.append(f"{name} takes any number of pictures at once; the files made of it take one")
    length = side(name, sizes[rows], input_size)
    if None in sizes[rows]:
        notes.append(f"{name} takes pictures of any size; the files made of it take {length}x{length}")
    sizes[0], sizes[rows] = 1, [length, length]
    return sizes, layout, notes


def _facts(name, image, layout, logits, last, notes) -> dict[str, Any]:
    """What is known of a file from the shapes of its two ends, as `making.make` has it. Raises UsageError."""
    if not logits or max(logits) != math.prod(logits) or max(logits) < 1:
        raise UsageError(f"{name} gives output of shape {_shown(logits)}, expected (1, classes)")
    return {
        "classes": max(logits),
        "input_size": (image[2], image[2]),
        "channels": image[layout.index("C")],
        "layout": layout,
        "notes": [*notes, *answer_notes(name, max(logits), last)],
    }


def answer_notes(name: str, classes: int, last: str) -> list[str]:
    """What a user must know of a model's answers. last: the kind of the op that gives them."""
    notes = []
    if function := _PROBABILITIES.get(last.upper()):
        notes.append(f"{name} ends in a {function}: it gives probabilities, not logits")
    if classes == 1:
        notes.append(f"{name} gives one number, not one for each class: `top-1 same` says nothing of it")
    return notes


def _shown(shape):
    return f"({', '.join(map(str, shape))})"


def _first_line(error):
    return str(error).strip().split("\n")[0]
