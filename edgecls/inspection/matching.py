"""Which tensor of a quantized graph stands for which of its float model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgecls.artifact import TensorInfo
from edgecls.graph import Graph, Op, Tensor
from edgecls.graph.flow import Flow, present
from edgecls.graph.rules import CASTS, QUANTIZE
from edgecls.verification.running import dequantized, quantized
from edgecls.verification.saturation import integers


@dataclass(frozen=True, eq=False, kw_only=True)
class Match:
    """One result of a layer, or the picture.

    tensor: as the quantized graph computes it; op: which does, None of the picture. sources: tensors that
    the op reads, behind casts. info: how its values are kept, None where that is in float.
    twin: the float model's tensor of the same meaning; None where it has none.
    """

    tensor: Tensor
    op: Op | None
    sources: tuple[Tensor, ...]
    info: TensorInfo | None
    twin: Tensor | None

    def given(self, value: np.ndarray) -> np.ndarray:
        """Float `value` as the graph holds it in `tensor`."""
        if self.tensor.floating:
            return np.ascontiguousarray(value, self.tensor.dtype)
        return quantized(value, self.info)

    def real(self, stored: np.ndarray) -> np.ndarray:
        """What later layers read of the graph's `stored` values of `tensor`, float32."""
        return self.rounded(stored) if self.tensor.floating else dequantized(stored, self.info)

    def rounded(self, value: np.ndarray) -> np.ndarray:
        """Float `value` as it is once it is kept, float32."""
        value = value.astype(np.float32)
        return dequantized(quantized(value, self.info), self.info) if self.info else value


def match(graph: Graph, model: Graph, ends: Mapping[str, TensorInfo]) -> list[Match]:
    """What the layers of a quantized `graph` compute, in order, the picture first; casts are no layers.

    model: the float graph that it was made of, or another of the same names. ends: how the ends of `graph`
    are quantized where its file cannot say. Two tensors are the same where their names are, or those of
    casts of them, and their shapes.
    """
    flow, known = Flow(graph), {**integers(graph), **ends}
    floats = {name: tensor for name, tensor in model.tensors.items() if not tensor.constant}
    roots = {tensor: tensor for tensor in graph.inputs}
    for op in graph.ops:
        for output in op.outputs:
            cast = op.kind in CASTS and op.inputs[0] in roots
            roots[output] = roots[op.inputs[0]] if cast else output
    names: dict[Tensor, list[str]] = {}
    for tensor, root in roots.items():
        names.setdefault(root, []).append(tensor.name)
    made = [(tensor, None) for tensor in graph.inputs]
    made += [
        (output, op)
        for op in graph.ops
        for output in op.outputs
        if roots[output] is output and output not in flow.fixed and output not in flow.scales
    ]
    return [
        Match(
            tensor=tensor,
            op=op,
            sources=tuple(roots[source] for source in present(op.inputs) if source in roots and source not in flow.fixed)
            if op
            else (),
            info=_info(tensor, flow, known),
            twin=next((floats[name] for name in names[tensor] if name in floats and floats[name].shape == tensor.shape), None),
        )
        for tensor, op in made
        if tensor.floating or tensor.name in known
    ]


def _info(tensor: Tensor, flow: Flow, known: Mapping[str, TensorInfo]) -> TensorInfo | None:
    """Its own, or that of the first op that quantizes it."""
    if not tensor.floating:
        return known[tensor.name]
    quantizing = (op.outputs[0].name for op in flow.readers[tensor] if op.kind in QUANTIZE)
    return next((known[name] for name in quantizing if name in known), None)
