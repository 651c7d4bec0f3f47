"""Counting the weights of an inference graph."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from edgecls.errors import BadFile
from edgecls.graph import Graph, Op, Tensor
from edgecls.graph.flow import Flow, present
from edgecls.graph.rules import CASTS, CONTRACTIONS, DENSE, MOVES, NORMS, OFFSETS, SCALES, WEIGHTS


def params(graph: Graph, flow: Flow) -> int:
    """Elements of the constants that are weights; `cost.Cost` says which are."""
    return sum(_Weights(graph, flow).counted.values())


@dataclass(frozen=True)
class _Filters:
    """What a kernel computes, while a runtime can still fold a scale or an offset into it."""

    count: int
    biased: bool


class _Weights:
    def __init__(self, graph: Graph, flow: Flow):
        self.graph, self.flow = graph, flow
        self.counted: dict[Hashable, int] = {}
        self.filters: dict[Tensor, _Filters] = {}
        self.pictures = set(graph.inputs)
        for op in graph.ops:
            if flow.activations(op.outputs):
                self._visit(op)

    def _visit(self, op: Op) -> None:
        filters = None
        vanishes = op.kind == "LayerNormalization" and self._feeds_dense(op)
        for tensor in present(op.inputs[WEIGHTS[op.kind]] if op.kind in WEIGHTS and not vanishes else ()):
            self._count(tensor)
        if self._prepares(op):
            self.pictures.update(op.outputs)
        elif op.kind in CONTRACTIONS:
            filters = self._contraction(op)
        elif op.kind in NORMS:
            filters = self._norm(op)
        elif op.kind in SCALES or op.kind in OFFSETS:
            filters = self._affine(op)
        if filters and not _clamps(op):
            self.filters[op.outputs[0]] = filters

    def _prepares(self, op: Op) -> bool:
        """Whether `op` only moves, converts or normalises pictures on their way to the first layer."""
        prepares = any(op.kind in kinds for kinds in (CASTS, MOVES, SCALES, OFFSETS))
        return prepares and self.pictures.issuperset(self.flow.activations(op.inputs))

    def _contraction(self, op: Op) -> _Filters | None:
        rule = CONTRACTIONS[op.kind]
        operands = [op.inputs[rule.data], op.inputs[rule.kernel]]
        for tensor in operands:
            self._count(tensor)
        bias = op.inputs[rule.bias] if rule.bias is not None and rule.bias < len(op.inputs) else None
        biased = bias is not None and self._count_offset(bias)
        if self.flow.fixed.isdisjoint(operands) or not op.outputs[0].floating:  # integers may be clamped ones
            return None
        return _Filters(rule.filters(op), biased)

    def _norm(self, op: Op) -> _Filters | None:
        data, scale, offset = op.inputs[:3]
        filters = self._foldable(data)
        if self._feeds_dense(op):
            return filters
        if filters is None:
            self._count(scale)
        if filters is None or not filters.biased:
            self._count(offset)
        return filters and replace(filters, biased=True)

    def _affine(self, op: Op) -> _Filters | None:
        operands = [op.inputs[i] for i in (SCALES | OFFSETS)[op.kind]]
        activations = self.flow.activations(operands)
        if len(activations) != 1:
            return None
        other = operands[1] if operands[0] is activations[0] else operands[0]
        filters = self._foldable(activations[0])
        if other not in self.flow.fixed:  # the scale of a dynamic quantization
            return filters
        if op.outputs[0].shape[-1:] == (other.elements,) and self._feeds_dense(op):
            return filters
        if filters and other.elements == filters.count:
            if op.kind in OFFSETS and not filters.biased:
                filters = replace(filters, biased=self._count_offset(other))
            return filters
        if other.elements == 1:
            return filters
        if op.kind in OFFSETS:
            self._count_offset(other)
        else:
            self._count(other)
        return None

    def _foldable(self, data: Tensor) -> _Filters | None:
        return self.filters.get(data) if self._reader(data) else None

    def _feeds_dense(self, op: Op) -> bool:
        """Whether a dense layer with a bias comes next, behind more scales, offsets and casts at most."""
        while not _clamps(op) and self._reader(op.outputs[0]):
            tensor, op = op.outputs[0], self._reader(op.outputs[0])
            if op.kind in DENSE:
                bias = op.inputs[CONTRACTIONS[op.kind].bias :]
                return tensor is op.inputs[0] and bool(present(bias[:1]))
            affine = op.kind in SCALES or op.kind in OFFSETS or op.kind in CASTS
            if not affine or len(self.flow.activations(op.inputs)) != 1:
                return False
        return False

    def _reader(self, tensor: Tensor) -> Op | None:
        """The only op that reads a tensor, if that is all that happens to it."""
        readers = self.flow.readers[tensor]
        return readers[0] if len(readers) == 1 and tensor not in self.graph.outputs else None

    def _count_offset(self, tensor: Tensor) -> bool:
        """Count a bias unless it is all zeros; an unreadable one, in an absent file, is taken not to be."""
        if tensor not in self.flow.fixed:
            return False
        source = self.flow.source(tensor)
        try:
            zero = source.constant and not self.graph.values(source).any()
        except BadFile:
            zero = False
        if not zero:
            self._count(tensor)
        return not zero

    def _count(self, tensor: Tensor) -> None:
        """Count a tensor that no activation flows into, once for all its uses."""
        if tensor in self.flow.fixed:
            source = self.flow.source(tensor)
            self.counted[source.storage if source.constant else source] = source.elements


def _clamps(op: Op) -> bool:
    """Whether an activation is fused into `op`."""
    return bool(op.attributes.get("fusedActivationFunction") or op.attributes.get("activation"))
