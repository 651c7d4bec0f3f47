"""What one inference of a graph costs, counted from the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from edgecls.errors import UncountableOp
from edgecls.graph import Graph, Op, Tensor, bits
from edgecls.graph.flow import Flow, present
from edgecls.graph.memory import activation_bytes
from edgecls.graph.params import params
from edgecls.graph.rules import CASTS, CLAMPS, CONTRACTIONS, DEQUANTIZE, KNOWN, MOVES, QUANTIZE, operands


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of the graph as the file holds it, one inference, a dynamic batch taken as 1.

    params: elements of the constants that are weights, however many bits each has, a shared one
        once: kernels, biases, other constants of more than one element that activations are
        multiplied with or added to, scale and offset of norms, slopes of PReLU, constants that
        activations are concatenated with or look up.
        Scale and offset of each channel (Mul, Add, BatchNormalization) count as runtimes fold them
        and TFLite files hold them: as one bias for each filter where they directly follow a float
        kernel whose output nothing else reads; as nothing where they, or those of a
        LayerNormalization, directly precede a dense layer with a bias. A bias of nothing but zeros
        does not count: TFLite's converter writes one where the net has none. Not weights: shapes,
        axes, paddings, scalars, quantization parameters, mean and variance of BatchNormalization,
        and what normalises the pictures before the first layer.
    macs: multiply-accumulates of convolutions (transposed ones: of each input with each weight it
        meets), dense layers and products of matrices, those of attention included; everything else
        is 0. 1 MAC = 2 FLOPs.
    ops: kind -> how often it is there, casts and reshapes included, ONNX's Constant not.
    float_ops: names of the ops that compute on floating-point activations, in order: all but moving
        and converting. In ONNX's QDQ form, a float op whose operands are all dequantized and whose
        results are all quantized (behind a Relu or Clip at most) is an integer one in disguise.
    activation_bytes: the largest sum of the sizes of tensors that are live at the same op, a bound
        from below on what any runtime needs that runs the ops in this order, computes none in place
        and keeps nothing else. Inputs are live from the start to the last op that reads them,
        outputs to the end. Constants, and what is computed from constants alone (the float copies
        of float16 or int8 weights), do not count. Float tensors between which and an op lies only
        QDQ's QuantizeLinear or DequantizeLinear count with the size of the quantized one.
    """

    params: int
    macs: int
    ops: Mapping[str, int]
    float_ops: tuple[str, ...]
    activation_bytes: int


def cost(graph: Graph) -> Cost:
    """Raises UncountableOp for an op without a counting rule or of unknown shapes, and for control flow."""
    for op in graph.ops:
        _check(graph, op)
    if graph.subgraphs != 1:
        raise UncountableOp(f"{graph.path} holds {graph.subgraphs} graphs (control flow); one can be counted")
    flow = Flow(graph)
    return Cost(
        params=params(graph, flow),
        macs=sum(_macs(op) for op in graph.ops if flow.activations(op.inputs)),
        ops=Counter(op.kind for op in graph.ops),
        float_ops=tuple(op.name for op in graph.ops if _computes_in_float(graph, flow, op)),
        activation_bytes=activation_bytes(graph, flow),
    )


def _check(graph: Graph, op: Op) -> None:
    """Raise UncountableOp for an op that cannot be counted."""
    where = f"{graph.path}: op {op.index}, {op.kind} {op.name!r}"
    if op.custom or op.kind not in KNOWN:
        raise UncountableOp(f"{where}: {'custom op' if op.custom else 'op'} without a counting rule")
    for tensor in present((*op.inputs, *op.outputs)):
        if tensor.shape is None:
            raise UncountableOp(f"{where}: the shape of {tensor.name!r} is not in the file, nor inferred")
        try:
            bits(tensor.dtype)
        except ValueError as error:
            raise UncountableOp(f"{where}: {tensor.name!r}: {error}") from error
    try:
        complete = op.outputs and all(op.inputs[position] is not None for position in operands(op.kind))
        if complete and op.kind in CONTRACTIONS:
            CONTRACTIONS[op.kind].count(op), CONTRACTIONS[op.kind].filters(op)
    except (LookupError, ValueError, AttributeError):
        complete = False
    if not complete:
        raise UncountableOp(f"{where}: its inputs and outputs do not fit it; the file is damaged")
    if op.kind in ("RESHAPE", "Reshape") and op.inputs[0].elements != op.outputs[0].elements:
        raise UncountableOp(
            f"{where}: takes {op.inputs[0].elements} elements and gives {op.outputs[0].elements}: "
            "the file leaves sizes open that depend on the batch; export it with a batch of 1"
        )


def _macs(op: Op) -> int:
    return CONTRACTIONS[op.kind].count(op) if op.kind in CONTRACTIONS else 0


def _computes_in_float(graph: Graph, flow: Flow, op: Op) -> bool:
    tensors = flow.activations((*op.inputs, *op.outputs))
    if op.kind in CASTS or op.kind in MOVES or not any(tensor.floating for tensor in tensors):
        return False
    if graph.format == "tflite":
        return True
    reads = _dequantized(flow, op) or op.kind in CLAMPS and _dequantized(flow, flow.writer.get(op.inputs[0]))
    return not (reads and _quantized(graph, flow, op))


def _dequantized(flow: Flow, op: Op | None) -> bool:
    """Whether all floating activations that `op` reads come from DequantizeLinear, moved at most."""

    def comes_dequantized(tensor: Tensor) -> bool:
        writer = flow.writer.get(tensor)
        return writer is not None and (
            writer.kind in DEQUANTIZE or (writer.kind in MOVES and _dequantized(flow, writer))
        )

    return op is not None and all(comes_dequantized(t) for t in flow.activations(op.inputs) if t.floating)


def _quantized(graph: Graph, flow: Flow, op: Op) -> bool:
    """Whether all floating activations that `op` writes go into QuantizeLinear, moved or clamped at most."""
    return all(
        tensor not in graph.outputs
        and all(
            reader.kind in QUANTIZE or (reader.kind in MOVES | CLAMPS and _quantized(graph, flow, reader))
            for reader in flow.readers[tensor]
        )
        for tensor in flow.activations(op.outputs)
        if tensor.floating
    )
