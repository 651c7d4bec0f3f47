"""One range for all that is joined.

Where the parts of a concatenation have ranges of their own, each is quantized once more on its way:
TFLite puts a QUANTIZE before, ONNX Runtime looks up every byte in a table. With one range a part is
copied. What only moves values, such as a slice, has one range with what it moves anyway.

GhostNet's int8 takes 0.96 of the time in LiteRT, at 0.5 dB more; SqueezeNet's 0.93 in ONNX Runtime.
"""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np

from edgecls.exporters.ranges import Ends
from edgecls.graph import Graph, Op
from edgecls.graph.rules import CLAMPS

_JOINS = {"CONCATENATION", "Concat"}
_MOVES = frozenset(
    """
    MAX_POOL_2D PAD RESHAPE SLICE SPLIT SPLIT_V SQUEEZE STRIDED_SLICE TRANSPOSE
    MaxPool Pad Reshape Slice Split Squeeze Transpose
    """.split()
)
#: A part whose own range is so many times narrower keeps it: its other readers would lose two bits.
_NARROWER = 4


def joins(graph: Graph) -> bool:
    """Whether something is joined."""
    return any(op.kind in _JOINS for op in graph.ops)


def join(graph: Graph, found: dict[str, Ends]) -> dict[str, Ends]:
    """The ranges `found` of the tensors of a float graph, by name, with those that are to be one."""
    parent: dict[str, str] = {}

    def set_of(name):
        while name in parent:
            name = parent[name]
        return name

    joined = set()
    for op in graph.ops:
        if op.kind in _JOINS or op.kind in _MOVES:
            sources = op.inputs if op.kind in _JOINS else op.inputs[:1]
            names = [tensor.name for tensor in (*op.outputs, *sources) if tensor.name in found]
            for one, other in itertools.pairwise(names):
                if set_of(one) != set_of(other):
                    parent[set_of(other)] = set_of(one)
            if op.kind in _JOINS:
                joined.update(names[:1])
    sets = defaultdict(list)
    for name in found:
        sets[set_of(name)].append(name)
    limits = {op.outputs[0].name: _limits(graph, op) for op in graph.ops if op.kind in CLAMPS}
    changed = {}
    for name in {set_of(name) for name in joined}:
        low, high = (end(found[member][side] for member in sets[name]) for side, end in enumerate((min, max)))
        for member in sets[name]:
            own = found[member][1] - found[member][0]
            least, most = limits.get(member, (-np.inf, np.inf))
            if own * _NARROWER >= high - low and least <= low and high <= most:
                changed[member] = low, high
    return found | changed


def _limits(graph: Graph, clamp: Op) -> tuple[float, float]:
    """What a clamp of ONNX keeps values within. Its quantizer takes clamps out and leaves it to the ends of
    the range to cut values off, so those may not lie beyond."""
    ends = [0, np.inf] if clamp.kind == "Relu" else [-np.inf, np.inf]
    for side, end in enumerate(clamp.inputs[1:3]):
        if end is not None:
            ends[side] = graph.values(end).item() if end.constant else (np.inf, -np.inf)[side]
    return tuple(ends)
