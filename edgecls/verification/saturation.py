"""Which tensors of an integer graph are cut off by their range: the mark of a calibration too tame."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgecls.artifact import TensorInfo
from edgecls.graph import Graph
from edgecls.graph.rules import CASTS, VIEWS
from edgecls.verification import inside
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
    graph: Graph, inputs: np.ndarray, logits: np.ndarray, ends: Mapping[str, TensorInfo], macs: int | None
) -> dict[str, float]:
    """By tensor, the share of values that its range cuts off, of the worst few.

    inputs: as the graph takes them, but float32 in the model's own space: (count, *its input's shape).
    logits: the float model's, (count, classes). ends: how the graph's ends are quantized where its
    file cannot say. Of both ends it is known what they should be; of a tensor in between the values
    at the limits of its type are counted, unless an activation ends there by nature, on as many
    pictures as `macs` leave time for, one where they are not known.
    """
    ranges = integers(graph) | {name: end for name, end in ends.items() if end.dtype in _INTEGERS}
    start, end = _entries(graph), exits(graph)
    found = {}
    for names, values in ((start, inputs), (end, logits)):
        name = next((name for name in names if name in ranges), None)
        if name is not None:
            found[name] = beyond(values, ranges[name])
    inner = {name: info for name, info in ranges.items() if name not in {*start, *end}}
    if inner:
        source = ranges.get(graph.inputs[0].name)
        taken = inputs[: int(np.clip(_BUDGET / macs, 1, _MOST)) if macs else 1]
        run, shares = inside.open(graph, inner), []
        for picture in taken:
            stored = run({graph.inputs[0].name: quantized(picture, source) if source else picture})
            shares.append({name: _at_limits(value, inner[name]) for name, value in stored.items()})
        found |= {name: float(np.mean([one[name] for one in shares])) for name in inner}
    worst = sorted((name for name in found if found[name] > 0), key=lambda name: (-found[name], name))
    return {name: found[name] for name in worst[:_SHOWN]}


def integers(graph: Graph) -> dict[str, TensorInfo]:
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
            if op.kind == "QuantizeLinear"
            if len(op.inputs) == 3 and all(one.constant for one in op.inputs[1:])
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


def beyond(values: np.ndarray, info: TensorInfo) -> float:
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
