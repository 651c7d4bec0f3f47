"""Channels of depthwise convolutions padded with zeros to multiples of 16, which is how many ONNX
Runtime's int8 kernel computes at once.

The rest it computes one by one. Microseconds of a 3x3 convolution of 56x56 pixels (one thread, x86 with
AVX512-VNNI):

    channels    8   16   24   32   36   48   64   72   96
               48   32   78   39  143   47   55  172   74

What is added is computed with zeros and read with zeros, from the layer that makes the channels on to
those that mix them; what is joined is as wide as its parts. Int8 of GhostNet takes 0.83 of the time that
it took, MNASNet and ShuffleNet v2 0.84, MobileNetV3 large 0.87. Other convolutions win little by other
numbers of channels: 0.97 at best.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgecls.exporters._onnx_graph import attribute, drop_unread_constants

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

_MULTIPLE = 16

#: Ops that work on each channel alone, with two operands on the same channel of both.
_ALONE = frozenset(
    """
    Add AveragePool Clip GlobalAveragePool HardSigmoid HardSwish LeakyRelu MaxPool Mul Relu Sigmoid Sub
    Tanh
    """.split()
)


def onnx(model: ModelProto) -> bool:
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    changed = _Alignment(model.graph, inferred.graph).apply()
    if changed:
        del model.graph.value_info[:]
        model.CopyFrom(onnx.shape_inference.infer_shapes(model))
    return changed


class _Layout(NamedTuple):
    """At which place each channel stands, and how many places there are."""

    places: np.ndarray
    width: int


class _Disagreement(Exception):
    """Of the layouts of a class, which it names."""


class _Alignment:
    """Tensors with each channel at the same place make a class. Between classes stand layers that mix
    channels, which can read and write any layout, and those that join or cut tensors."""

    def __init__(self, graph: GraphProto, inferred: GraphProto):
        self.graph = graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        values = (*inferred.input, *inferred.value_info, *inferred.output)
        self.shapes = {v.name: [dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in values}
        self.parent: dict[str, str] = {}
        self.makers: dict[str, list[NodeProto]] = defaultdict(list)
        self.padded: set[str] = set()
        self.layouts: dict[str, _Layout | None] = {}
        self.roles = {node.output[0]: self._role(node) for node in graph.node}
        for node in graph.node:
            if self._role_of(node) in ("alone", "depthwise"):
                sink = self._class(node.output[0])
                self.parent |= {self._class(name): sink for name in self._operands(node)}
        self.fixed = {self._class(value.name) for value in (*graph.input, *graph.output)}
        for node in graph.node:
            self._note(node)
        self._settle()

    def apply(self) -> bool:
        """Pad what gains; whether there was something."""
        changed = False
        for node in self.graph.node:
            role = self._role_of(node)
            if role in ("depthwise", "mix"):
                changed |= self._widen(node)
            elif role == "cut":
                changed |= self._cut(node)
        drop_unread_constants(self.graph)
        return changed

    def _role_of(self, node: NodeProto) -> str:
        return self.roles[node.output[0]]

    def _operands(self, node: NodeProto) -> list[str]:
        """Inputs that are computed."""
        return [name for name in node.input if name and name not in self.constants]

    def _role(self, node: NodeProto) -> str:
        """What a node does with channels: works on each "alone" or "depthwise", "mix", "join", "cut",
        or "fixed" where it needs or makes them as they are."""
        operands, constants = self._operands(node), [name for name in node.input if name in self.constants]
        sink, *sources = (self.shapes.get(name, []) for name in (node.output[0], *operands))
        if len(node.output) != 1 or not sources or any(len(shape) < 2 for shape in (sink, *sources)):
            return "fixed"
        alone = all(shape[1] == sink[1] and len(shape) == len(sink) for shape in sources)
        if node.op_type in ("Gemm", "MatMul"):
            plain = operands == node.input[:1] and len(sources[0]) == 2 and not attribute(node, "transA", 0)
            return "mix" if plain else "fixed"
        if node.op_type == "Conv":
            groups = attribute(node, "group", 1)
            role = "mix" if groups == 1 else "depthwise" if alone and groups == sink[1] else "fixed"
            return role if operands == node.input[:1] else "fixed"
        if node.op_type == "Concat" and not constants:
            return "join" if attribute(node, "axis", 0) == 1 else "fixed"
        if node.op_type == "Slice" and len(constants) >= 3:
            axes, *steps = (self._value(name).tolist() for name in constants[2:])
            return "cut" if axes == [1] and steps in ([], [[1]]) else "fixed"
        if node.op_type == "Pad":
            pads = self._value(node.input[1])
            return "fixed" if pads[1] or pads[1 + len(pads) // 2] else "alone"
        if node.op_type == "Squeeze":
            return "alone" if sink == sources[0][:2] else "fixed"
        scalars = all(self._value(name).size == 1 for name in constants)
        return "alone" if node.op_type in _ALONE and alone and scalars else "fixed"

    def _class(self, name: str) -> str:
        while name in self.parent and self.parent[name] != name:
            name = self.parent[name]
        return name

    def _note(self, node: NodeProto) -> None:
        """Note what a node wants of its operands' classes, and which it makes."""
        role, sink = self._role_of(node), self._class(node.output[0])
        if role == "fixed":
            self.fixed |= {sink, *map(self._class, self._operands(node))}
        if role == "depthwise":
            self.padded.add(sink)
        if role in ("mix", "join", "cut"):
            self.makers[sink].append(node)
        if node.op_type in ("Gemm", "MatMul"):
            self.fixed.add(sink)

    def _settle(self) -> None:
        """Find a layout for each class. What is joined or cut has the one that its parts or its whole give
        it; where several disagree, all keep their channels as they are."""
        parts = [node for node in self.graph.node if self._role_of(node) in ("join", "cut")]
        while True:
            before = -1
            while len(self.fixed) > before:
                before = len(self.fixed)
                for node in parts:
                    if self._class(node.output[0]) in self.fixed:
                        self.fixed |= {self._class(name) for name in self._operands(node)}
            self.layouts = {}
            try:
                for node in self.graph.node:
                    if len(self.shapes.get(node.output[0], ())) > 1:
                        self._layout(node.output[0])
                return
            except _Disagreement as disagreement:
                self.fixed.add(str(disagreement))

    def _layout(self, name: str) -> _Layout:
        found = self._class(name)
        if found not in self.layouts:
            self.layouts[found] = None
            self.layouts[found] = self._find(found, self.shapes[name][1])
        if self.layouts[found] is None:  # it is made of itself
            raise _Disagreement(found)
        return self.layouts[found]

    def _find(self, found: str, channels: int) -> _Layout:
        if found in self.fixed or not self.makers[found]:
            return _Layout(np.arange(channels), channels)
        layouts = [self._of_parts(node) for node in self.makers[found] if self._role_of(node) != "mix"]
        if not layouts:
            width = -(-channels // _MULTIPLE) * _MULTIPLE if found in self.padded else channels
            return _Layout(np.arange(channels), width)
        first, *others = layouts
        if any(other.width != first.width or (other.places != first.places).any() for other in others):
            raise _Disagreement(found)
        return first

    def _of_parts(self, node: NodeProto) -> _Layout:
        """Of what a node joins or cuts."""
        if self._role_of(node) == "cut":
            start, end, places = self._range(node)
            return _Layout(places - start, end - start)
        parts = [self._layout(name) for name in node.input]
        starts = np.cumsum([0, *(part.width for part in parts)])
        places = [start + part.places for start, part in zip(starts, parts, strict=False)]
        return _Layout(np.concatenate(places), int(starts[-1]))

    def _range(self, node: NodeProto) -> tuple[int, int, np.ndarray]:
        """Of a cut: where it starts and ends in the layout of its whole, and where its channels are there."""
        whole = self._layout(node.input[0])
        first, last = (int(self._value(name)[0]) for name in node.input[1:3])
        places = whole.places[first:last]
        return int(places[0]), int(places[-1]) + 1, places

    def _widen(self, node: NodeProto) -> bool:
        """Put the weights of a layer at the places of their channels."""
        reads, writes = self._layout(node.input[0]), self._layout(node.output[0])
        if self._role_of(node) == "depthwise":
            axes = {1: [(0, writes)], 2: [(0, writes)]}
        elif node.op_type == "Conv":
            axes = {1: [(1, reads), (0, writes)], 2: [(0, writes)]}
        else:
            axes = {1: [(attribute(node, "transB", 0), reads)]}
        changed = False
        for position, moves in axes.items():
            if position < len(node.input) and node.input[position]:
                value = wide = self._value(node.input[position])
                for axis, layout in moves:
                    wide = _spread(wide, axis, layout)
                if wide is not value:
                    self._give(node, position, wide)
                    changed = True
        for said in node.attribute:
            if said.name == "group" and said.i > 1:
                said.i = writes.width
        return changed

    def _cut(self, node: NodeProto) -> bool:
        if self._class(node.output[0]) in self.fixed:
            return False
        start, end, _ = self._range(node)
        for position, value in ((1, start), (2, end)):
            self._give(node, position, np.array([value]))
        return True

    def _value(self, name: str) -> np.ndarray:
        from onnx import numpy_helper

        return numpy_helper.to_array(self.constants[name])

    def _give(self, node: NodeProto, position: int, value: np.ndarray) -> None:
        from onnx import numpy_helper

        node.input[position] = f"{node.output[0]}/{position}/aligned"
        self.graph.initializer.append(numpy_helper.from_array(value, node.input[position]))


def _spread(value: np.ndarray, axis: int, layout: _Layout) -> np.ndarray:
    """Weights of channels along `axis` put at the channels' places, zeros elsewhere."""
    if len(layout.places) == layout.width:
        return value
    wide = np.zeros((*value.shape[:axis], layout.width, *value.shape[axis + 1 :]), value.dtype)
    np.moveaxis(wide, axis, 0)[layout.places] = np.moveaxis(value, axis, 0)
    return wide
