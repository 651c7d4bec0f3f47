"""How many bytes of activations are live at once."""

from __future__ import annotations

from itertools import accumulate

from edgecls.graph import Graph, Tensor
from edgecls.graph.flow import Flow


def activation_bytes(graph: Graph, flow: Flow) -> int:
    """Largest sum of the sizes of live activations over the ops in order; see `cost.Cost`."""
    stored_as = _quantized_forms(graph, flow)
    born: dict[Tensor, int] = dict.fromkeys(graph.inputs, 0)
    dies: dict[Tensor, int] = dict.fromkeys(graph.inputs, 0)
    for index, op in enumerate(graph.ops):
        if not flow.activations(op.outputs):
            continue  # it reads a shape, or nothing that moves
        for tensor in flow.activations((*op.inputs, *op.outputs)):
            stored = stored_as.get(tensor, tensor)
            born.setdefault(stored, index)
            dies[stored] = index
    dies.update(dict.fromkeys(graph.outputs, len(graph.ops)))
    change = [0] * (len(graph.ops) + 2)
    for tensor, index in born.items():
        change[index] += tensor.nbytes
        change[dies[tensor] + 1] -= tensor.nbytes
    return max(accumulate(change))


def _quantized_forms(graph: Graph, flow: Flow) -> dict[Tensor, Tensor]:
    """Of each float tensor that QDQ writes only to quantize it, or reads from a quantized one: that one."""
    forms: dict[Tensor, Tensor] = {}
    ends = {*graph.inputs, *graph.outputs}
    for op in graph.ops:
        if op.kind == "QuantizeLinear" and flow.readers[op.inputs[0]] == [op]:
            forms[op.inputs[0]] = op.outputs[0]
        elif op.kind == "DequantizeLinear":
            forms[op.outputs[0]] = op.inputs[0]
    return {tensor: form for tensor, form in forms.items() if tensor not in ends}
