"""Which tensors of an integer graph are cut off by their range: the mark of a calibration that was too tame."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np

from edgecls.artifact import TensorInfo
from edgecls.graph import Graph
from edgecls.graph.rules import CASTS, VIEWS
from edgecls.verification.running import quantized

#: Where activations end by nature, so that many values may lie there: ReLU and sigmoid, ReLU6, tanh, and
#: the lowest points of hard-swish, swish and GELU.
_ENDS = (0.0, 1.0, 6.0, -1.0, -0.375, -0.2785, -0.17)
#: How near, in steps; pictures to calibrate with need not reach the end quite.
_NEAR = 4
#: Tensors that are told of, the worst first.
_SHOWN = 5
_INTEGERS = {"int8", "uint8", "int16", "uint16"}
#: Multiply-accumulates that looking inside may take; a runtime that keeps every tensor is slow.
_BUDGET, _MOST = 2e9, 8


def saturation(
    graph: Graph, inputs: np.ndarray, logits: np.ndarray, ends: Mapping[str, TensorInfo], macs: int
) -> dict[str, float]:
    """By tensor, the share of values that its range cuts off, of the worst few.

    inputs: as the graph takes them, but float32 in the model's own space: (count, *its input's shape).
    logits: the float model's, (count, classes). ends: how the graph's ends are quantized where its
    file cannot say. Of both ends it is known what they should be; of a tensor in between the values
    at the limits of its type are counted, unless an activation ends there by nature, on as many
    pictures as `macs` leave time for.
    """
    ranges = _ranges(graph) | {name: end for name, end in ends.items() if end.dtype in _INTEGERS}
    start, end = _entries(graph), exits(graph)
    found = {}
    for names, values in ((start, inputs), (end, logits)):
        name = next((name for name in names if name in ranges), None)
        if name is not None:
            found[name] = _beyond(values, ranges[name])
    inner = {name: info for name, info in ranges.items() if name not in {*start, *end}}
    if inner:
        source = ranges.get(graph.inputs[0].name)
        taken = inputs[: int(np.clip(_BUDGET // max(macs, 1), 1, _MOST))]
        look = _tflite if graph.format == "tflite" else _onnx
        shares = [
            {name: _at_limits(stored, inner[name]) for name, stored in one.items()}
            for one in look(graph, inner, (quantized(picture, source) if source else picture for picture in taken))
        ]
        found |= {name: float(np.mean([one[name] for one in shares])) for name in inner}
    worst = sorted((name for name in found if found[name] > 0), key=lambda name: (-found[name], name))
    return {name: found[name] for name in worst[:_SHOWN]}


def _ranges(graph: Graph) -> dict[str, TensorInfo]:
    """How each activation of one scale is quantized."""
    if graph.format == "tflite":
        quantized = [
            (tensor, tensor.quantization.scale, tensor.quantization.zero_point)
            for tensor in (*graph.inputs, *(output for op in graph.ops for output in op.outputs))
            if tensor.quantization is not None
        ]
    else:
        quantized = [
            (op.outputs[0], *(np.atleast_1d(graph.values(constant)) for constant in op.inputs[1:3]))
            for op in graph.ops
            if op.kind == "QuantizeLinear" and len(op.inputs) == 3 and all(one.constant for one in op.inputs[1:])
        ]
    return {
        tensor.name: TensorInfo(
            name=tensor.name,
            shape=tensor.shape,
            dtype=tensor.dtype,
            scale=float(scale[0]),
            zero_point=int(zero_point[0]),
        )
        for tensor, scale, zero_point in quantized
        if tensor.dtype in _INTEGERS and len(scale) == 1
    }


def _entries(graph: Graph) -> list[str]:
    """Tensors that hold the picture itself, quantized, cast or moved, in order."""
    found = {graph.inputs[0].name: None}
    for op in graph.ops:
        if op.kind in CASTS | VIEWS and op.inputs[0].name in found:
            found |= dict.fromkeys(output.name for output in op.outputs)
    return list(found)


def exits(graph: Graph) -> list[str]:
    """Tensors that hold the logits themselves, from the last to the first."""
    found = {graph.outputs[0].name: None}
    for op in reversed(graph.ops):
        if op.kind in CASTS | VIEWS and any(output.name in found for output in op.outputs):
            found[op.inputs[0].name] = None
    return list(found)


def _beyond(values: np.ndarray, info: TensorInfo) -> float:
    """Share of real `values` more than half a step beyond what `info` can hold."""
    steps, limits = values / info.scale + info.zero_point, np.iinfo(info.dtype)
    return float(((steps < limits.min - 0.501) | (steps > limits.max + 0.501)).mean())


def _at_limits(stored: np.ndarray, info: TensorInfo) -> float:
    """Share of `stored` values at the limits of their type, but where activations end there."""
    limits = np.iinfo(info.dtype)
    return sum(
        float((stored == limit).mean())
        for limit in (limits.min, limits.max)
        if min(abs((limit - info.zero_point) * info.scale - end) for end in _ENDS) > _NEAR * info.scale
    )


def _tflite(graph: Graph, names: Collection[str], pictures: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Values of the tensors for each picture, in a runtime that keeps them."""
    from ai_edge_litert import interpreter as litert

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keeping them is for debugging
        runtime = litert.Interpreter(
            str(graph.path),
            num_threads=1,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    (source,) = runtime.get_input_details()
    runtime.resize_tensor_input(source["index"], graph.inputs[0].shape)
    runtime.allocate_tensors()
    indices = {name: index for index, name in enumerate(graph.tensors)}
    for picture in pictures:
        runtime.set_tensor(source["index"], picture)
        runtime.invoke()
        yield {name: runtime.get_tensor(indices[name]) for name in names}


def _onnx(graph: Graph, names: Collection[str], pictures: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Values of the tensors for each picture, as further outputs of the graph."""
    import onnx
    import onnxruntime

    model = onnx.load(graph.path)
    for name in names:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    runtime = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for picture in pictures:
        yield dict(zip(names, runtime.run(list(names), {graph.inputs[0].name: picture}), strict=True))
