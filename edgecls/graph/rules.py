"""What each kind of op costs: one table for TFLite's names (CONV_2D) and ONNX's (Conv), which never collide.

A kind in none of the tables has no counting rule, and a graph that holds one is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from edgecls.graph import Op, Tensor


@dataclass(frozen=True)
class Contraction:
    """An op that multiplies and accumulates, and where its operands are.

    macs: of (op, data, kernel); data, kernel, bias: positions among the inputs; channels: the axis
    of the output along which filters lie.
    """

    macs: Callable[[Op, Tensor, Tensor], int]
    data: int = 0
    kernel: int = 1
    bias: int | None = None
    channels: int = -1

    def count(self, op: Op) -> int:
        """MACs. Raises LookupError or ValueError where the shapes do not fit."""
        return self.macs(op, op.inputs[self.data], op.inputs[self.kernel])

    def filters(self, op: Op) -> int:
        """How many of the output's channels there are. Raises IndexError where it has no such axis."""
        return op.outputs[0].shape[self.channels]


def _filter_per_output(op, data, kernel):
    """Filters along the first axis of the kernel: TFLite's (out, height, width, in/groups) and (out, in),
    ONNX's (out, in/groups, height, width)."""
    return op.outputs[0].elements * math.prod(kernel.shape[1:])


def _window_per_output(op, data, kernel):
    """Depthwise: (1, height, width, channels)."""
    return op.outputs[0].elements * math.prod(kernel.shape[1:3])


def _filter_per_input(op, data, kernel):
    """ONNX's transposed convolution: (in, out/groups, height, width)."""
    return data.elements * math.prod(kernel.shape[1:])


def _filters_last_per_input(op, data, kernel):
    """TFLite's transposed convolution: (out, height, width, in)."""
    return data.elements * math.prod(kernel.shape[:-1])


def _matmul(op, data, kernel):
    return op.outputs[0].elements * data.shape[-2 if op.attributes.get("adjX") else -1]


def _gemm(op, data, kernel):
    return op.outputs[0].elements * data.shape[0 if op.attributes.get("transA") else 1]


def _einsum(op, data, kernel):
    """Product of the sizes of all indices; broadcast axes under an ellipsis included."""
    left = op.attributes["equation"].decode().replace(" ", "").split("->")[0].split(",")
    sizes: dict[str | int, int] = {}
    for term, tensor in zip(left, op.inputs, strict=True):
        before, ellipsis, after = term.partition("...")
        hidden = range(len(before) + len(after) - len(tensor.shape), 0) if ellipsis else ()
        for index, size in zip([*before, *hidden, *after], tensor.shape, strict=True):
            sizes[index] = max(size, sizes.get(index, 1))
    return math.prod(sizes.values())


CONTRACTIONS: dict[str, Contraction] = {
    "CONV_2D": Contraction(_filter_per_output, bias=2),
    "DEPTHWISE_CONV_2D": Contraction(_window_per_output, bias=2),
    "TRANSPOSE_CONV": Contraction(_filters_last_per_input, data=2, bias=3),
    "FULLY_CONNECTED": Contraction(_filter_per_output, bias=2),
    "BATCH_MATMUL": Contraction(_matmul),
    "Conv": Contraction(_filter_per_output, bias=2, channels=1),
    "ConvInteger": Contraction(_filter_per_output, channels=1),
    "QLinearConv": Contraction(_filter_per_output, kernel=3, bias=8, channels=1),
    "com.microsoft.FusedConv": Contraction(_filter_per_output, bias=2, channels=1),
    "ConvTranspose": Contraction(_filter_per_input, bias=2, channels=1),
    "Gemm": Contraction(_gemm, bias=2),
    "com.microsoft.FusedGemm": Contraction(_gemm, bias=2),
    "com.microsoft.QGemm": Contraction(_gemm, kernel=3, bias=6),
    "MatMul": Contraction(_matmul),
    "MatMulInteger": Contraction(_matmul),
    "QLinearMatMul": Contraction(_matmul, kernel=3),
    "Einsum": Contraction(_einsum),
}

#: Dense layers that can have a bias, one row of inputs at a time.
DENSE = frozenset("FULLY_CONNECTED Gemm com.microsoft.FusedGemm com.microsoft.QGemm".split())

#: Multiply or divide: the positions of the two operands.
SCALES = {"MUL": (0, 1), "DIV": (0, 1), "Mul": (0, 1), "Div": (0, 1), "com.microsoft.QLinearMul": (0, 3)}

#: Add or subtract: the positions of the two operands.
OFFSETS = {"ADD": (0, 1), "SUB": (0, 1), "Add": (0, 1), "Sub": (0, 1), "com.microsoft.QLinearAdd": (0, 3)}

#: Batch norm in one op: scale at 1, offset at 2.
NORMS = frozenset({"BatchNormalization"})

#: Other ops with weights of their own: which of their inputs, unless activations come in there.
WEIGHTS = {
    "InstanceNormalization": slice(1, 3),
    "GroupNormalization": slice(1, 3),
    "LayerNormalization": slice(1, 3),
    "com.microsoft.SkipLayerNormalization": slice(2, 5),
    "com.microsoft.BiasGelu": slice(1, 2),
    "PRELU": slice(1, 2),
    "PRelu": slice(1, 2),
    "GATHER": slice(0, 1),
    "Gather": slice(0, 1),
    "EMBEDDING_LOOKUP": slice(1, 2),
    "CONCATENATION": slice(None),
    "Concat": slice(None),
    "com.microsoft.QLinearConcat": slice(2, None, 3),
}

QUANTIZE = frozenset("QUANTIZE QuantizeLinear DynamicQuantizeLinear com.microsoft.QuantizeLinear".split())
DEQUANTIZE = frozenset("DEQUANTIZE DequantizeLinear com.microsoft.DequantizeLinear".split())
CASTS = QUANTIZE | DEQUANTIZE | {"CAST", "Cast"}

#: The same elements in another shape, or repeated; the first input holds them.
VIEWS = frozenset(
    """
    RESHAPE TRANSPOSE SQUEEZE EXPAND_DIMS TILE BROADCAST_TO
    Reshape Transpose Squeeze Unsqueeze Flatten Identity Dropout Tile Expand
    """.split()
)

#: Elements taken apart, put together, made up: no arithmetic.
MOVES = VIEWS | frozenset(
    """
    BATCH_TO_SPACE_ND CONCATENATION DEPTH_TO_SPACE EMBEDDING_LOOKUP FILL GATHER GATHER_ND MIRROR_PAD
    PACK PAD PADV2 RANGE RANK REVERSE_V2 SHAPE SLICE SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V
    STRIDED_SLICE UNPACK ZEROS_LIKE
    Concat ConstantOfShape DepthToSpace Gather GatherElements GatherND Pad Range Shape Size Slice
    SpaceToDepth Split com.microsoft.QLinearConcat
    """.split()
)

#: Their outputs follow from shapes alone.
SHAPES = frozenset("RANK SHAPE ZEROS_LIKE Shape Size".split())

#: What an integer convolution does at no cost when it writes its output.
CLAMPS = frozenset("Clip Relu".split())

#: Arithmetic without a multiply-accumulate of ours: pooling, activations, norms, comparisons.
ELEMENTWISE = CLAMPS | frozenset(
    """
    ABS ADD_N ARG_MAX ARG_MIN AVERAGE_POOL_2D CEIL COS CUMSUM ELU EQUAL EXP FAKE_QUANT FLOOR FLOOR_DIV
    FLOOR_MOD GELU GREATER GREATER_EQUAL HARD_SWISH L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS
    LESS_EQUAL LOCAL_RESPONSE_NORMALIZATION LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC
    LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM NEG NOT_EQUAL ONE_HOT POW REDUCE_ALL REDUCE_ANY
    REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 RESIZE_BILINEAR
    RESIZE_NEAREST_NEIGHBOR ROUND RSQRT SELECT SELECT_V2 SIGN SIN SOFTMAX SQRT SQUARE
    SQUARED_DIFFERENCE SUM TANH TOPK_V2 WHERE
    Abs And ArgMax ArgMin AveragePool Ceil Celu Cos CumSum Elu Equal Erf Exp Floor Gelu
    GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual HardSigmoid HardSwish LRN LeakyRelu Less
    LessOrEqual Log LogSoftmax LpNormalization Max MaxPool Mean MeanVarianceNormalization Min Mish Mod
    Neg Not OneHot Or Pow Reciprocal ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum ReduceSumSquare Resize Round Selu Sigmoid Sign Sin Softmax Softplus Softsign
    Sqrt Sum Tanh ThresholdedRelu TopK Upsample Where Xor
    com.microsoft.Gelu com.microsoft.QLinearAveragePool com.microsoft.QLinearGlobalAveragePool
    com.microsoft.QLinearLeakyRelu com.microsoft.QLinearSigmoid com.microsoft.QLinearSoftmax
    com.microsoft.QLinearWhere com.microsoft.QuickGelu
    """.split()
)

#: Every kind that has a rule.
KNOWN = frozenset().union(CONTRACTIONS, SCALES, OFFSETS, NORMS, WEIGHTS, CASTS, MOVES, ELEMENTWISE)


def operands(kind: str) -> tuple[int, ...]:
    """Positions of the inputs without which counting an op of a known kind makes no sense."""
    if kind in CONTRACTIONS:
        return CONTRACTIONS[kind].data, CONTRACTIONS[kind].kernel
    if kind in NORMS:
        return 0, 1, 2
    return (SCALES | OFFSETS).get(kind, (0,) if kind in CASTS or kind in VIEWS or kind in CLAMPS else ())
