"""One range for all that is joined.

Where the parts of a concatenation have ranges of their own, each is quantized once more on its way:
TFLite puts a QUANTIZE before, ONNX Runtime looks up every byte in a table. With one range a part is
copied. What only moves values, such as a slice, has one range with what it moves anyway.
"""

from __future__ import annotations

from collections import defaultdict

from edgecls.exporters.ranges import Ends
from edgecls.graph import Graph

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
            first, *others = [tensor.name for tensor in (*op.outputs, *sources) if tensor.name in found]
            for other in others:
                if set_of(other) != set_of(first):
                    parent[set_of(other)] = set_of(first)
            if op.kind in _JOINS:
                joined.add(first)
    sets = defaultdict(list)
    for name in found:
        sets[set_of(name)].append(name)
    changed = {}
    for name in {set_of(name) for name in joined}:
        low, high = (end(found[member][side] for member in sets[name]) for side, end in enumerate((min, max)))
        for member in sets[name]:
            own = found[member][1] - found[member][0]
            if own * _NARROWER >= high - low:
                changed[member] = low, high
    return found | changed
