"""Who writes and who reads each tensor, and what is known before the first inference."""

from __future__ import annotations

from collections import defaultdict

from edgecls.graph import Graph, Op, Tensor
from edgecls.graph.rules import CASTS, SHAPES, VIEWS


class Flow:
    """writer, readers: of each tensor; a reader that takes a tensor twice is there twice.
    fixed: constants and what is computed from constants and shapes alone.
    scales: scales and zero points that dynamic quantization computes from activations.
    The rest are activations.
    """

    def __init__(self, graph: Graph):
        self.writer: dict[Tensor, Op] = {}
        self.readers: dict[Tensor, list[Op]] = defaultdict(list)
        self.fixed = {tensor for tensor in graph.tensors.values() if tensor.constant}
        self.scales: set[Tensor] = set()
        for op in graph.ops:
            self.writer.update(dict.fromkeys(op.outputs, op))
            for tensor in present(op.inputs):
                self.readers[tensor].append(op)
            moving = [tensor for tensor in present(op.inputs) if tensor not in self.fixed]
            if op.kind in SHAPES or not moving:
                self.fixed.update(op.outputs)
            elif self.scales.issuperset(moving):
                self.scales.update(op.outputs)
            elif op.kind == "DynamicQuantizeLinear":
                self.scales.update(op.outputs[1:])

    def activations(self, tensors: tuple[Tensor | None, ...]) -> list[Tensor]:
        moving = (tensor for tensor in present(tensors) if tensor not in self.fixed)
        return [tensor for tensor in moving if tensor not in self.scales]

    def source(self, fixed: Tensor) -> Tensor:
        """Where the elements of a fixed tensor come from, behind casts, dequantization and reshapes."""
        while not fixed.constant and (writer := self.writer[fixed]).kind in CASTS | VIEWS:
            fixed = writer.inputs[0]
        return fixed


def present(tensors: tuple[Tensor | None, ...]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor is not None]
