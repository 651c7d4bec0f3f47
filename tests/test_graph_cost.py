"""MACs, parameters, float ops and activation memory of graphs small enough to count by hand."""

import numpy as np
import pytest

from edgecls.errors import UncountableOp
from edgecls.graph import read, rules
from edgecls.graph.cost import cost
from graph_files import weights, write


def costs(path, *args, **options):
    return cost(read(write(path, *args, **options)))


#: (op, tensors, MACs, params) of graphs of one op from x to y.
TFLITE = [
    (
        ("CONV_2D", "x w b", "y"),
        {"x": (1, 8, 8, 3), "w": weights(6, 3, 3, 3), "b": weights(6), "y": (1, 4, 4, 6)},
        (4 * 4 * 6) * (3 * 3 * 3),
        6 * 3 * 3 * 3 + 6,
    ),
    (  # 2 groups
        ("CONV_2D", "x w b", "y"),
        {"x": (1, 4, 4, 8), "w": weights(6, 1, 1, 4), "b": weights(6), "y": (1, 4, 4, 6)},
        (4 * 4 * 6) * 4,
        6 * 4 + 6,
    ),
    (  # depth multiplier 2
        ("DEPTHWISE_CONV_2D", "x w b", "y"),
        {"x": (1, 8, 8, 4), "w": weights(1, 3, 5, 8), "b": weights(8), "y": (1, 8, 8, 8)},
        (8 * 8 * 8) * (3 * 5),
        3 * 5 * 8 + 8,
    ),
    (
        ("TRANSPOSE_CONV", "s w x b", "y"),
        {
            "s": np.array([1, 8, 8, 5], np.int32),
            "w": weights(5, 3, 3, 4),
            "x": (1, 4, 4, 4),
            "b": weights(5),
            "y": (1, 8, 8, 5),
        },
        (4 * 4 * 4) * (3 * 3 * 5),
        3 * 3 * 4 * 5 + 5,
    ),
    (
        ("FULLY_CONNECTED", "x w b", "y"),
        {"x": (1, 12), "w": weights(10, 12), "b": weights(10), "y": (1, 10)},
        120,
        130,
    ),
    (
        ("FULLY_CONNECTED", "x w -", "y"),
        {"x": (1, 7, 12), "w": weights(10, 12), "y": (1, 7, 10)},
        7 * 120,
        120,
    ),
    (
        ("BATCH_MATMUL", "x w", "y"),
        {"x": (1, 2, 5, 3), "w": weights(1, 2, 3, 4), "y": (1, 2, 5, 4)},
        2 * 5 * 4 * 3,
        24,
    ),
    (
        ("BATCH_MATMUL", "x w", "y", ("BatchMatMulOptions", {"adjX": True})),
        {"x": (1, 2, 3, 5), "w": weights(1, 2, 3, 4), "y": (1, 2, 5, 4)},
        2 * 5 * 4 * 3,
        24,
    ),
    (("BATCH_MATMUL", "x x", "y"), {"x": (1, 6, 6), "y": (1, 6, 6)}, 6 * 6 * 6, 0),
    (("PRELU", "x a", "y"), {"x": (1, 4, 4, 3), "a": weights(1, 1, 3), "y": (1, 4, 4, 3)}, 0, 3),
    (("EMBEDDING_LOOKUP", "x w", "y"), {"x": ((5,), "int32"), "w": weights(9, 4), "y": (5, 4)}, 0, 36),
    (("HARD_SWISH", "x", "y"), {"x": (1, 4, 4, 3), "y": (1, 4, 4, 3)}, 0, 0),
    (("MEAN", "x a", "y"), {"x": (1, 4, 4, 3), "a": np.array([1, 2], np.int32), "y": (1, 3)}, 0, 0),
    (("PAD", "x p", "y"), {"x": (1, 4), "p": np.ones((2, 2), np.int32), "y": (3, 6)}, 0, 0),
]

ONNX = [
    (  # stride 2, no padding
        ("Conv", "x w b", "y", {"strides": [2, 2]}),
        {"x": (1, 3, 9, 9), "w": weights(6, 3, 3, 3), "b": weights(6), "y": (1, 6, 4, 4)},
        (6 * 4 * 4) * (3 * 3 * 3),
        6 * 27 + 6,
    ),
    (
        ("Conv", "x w", "y", {"group": 4}),
        {"x": (1, 8, 4, 4), "w": weights(12, 2, 3, 3), "y": (1, 12, 2, 2)},
        (12 * 2 * 2) * (2 * 3 * 3),
        12 * 18,
    ),
    (
        ("ConvTranspose", "x w b", "y", {"strides": [2, 2], "group": 2}),
        {"x": (1, 4, 5, 5), "w": weights(4, 3, 2, 2), "b": weights(6), "y": (1, 6, 10, 10)},
        (4 * 5 * 5) * (3 * 2 * 2),
        4 * 12 + 6,
    ),
    (("Gemm", "x w b", "y"), {"x": (1, 12), "w": weights(12, 10), "b": weights(10), "y": (1, 10)}, 120, 130),
    (
        ("Gemm", "x w", "y", {"transA": 1, "transB": 1}),
        {"x": (12, 3), "w": weights(10, 12), "y": (3, 10)},
        3 * 120,
        120,
    ),
    (("MatMul", "x w", "y"), {"x": (1, 7, 12), "w": weights(12, 10), "y": (1, 7, 10)}, 7 * 120, 120),
    (("MatMul", "x x", "y"), {"x": (1, 6, 6), "y": (1, 6, 6)}, 6 * 6 * 6, 0),
    (
        ("Einsum", "x w", "y", {"equation": "b i c , c h d -> b h i d"}),
        {"x": (1, 5, 8), "w": weights(8, 2, 3), "y": (1, 2, 5, 3)},
        5 * 8 * 2 * 3,
        48,
    ),
    (
        ("Einsum", "x w", "y", {"equation": "...ij,jk->...ik"}),
        {"x": (1, 4, 5, 8), "w": weights(8, 3), "y": (1, 4, 5, 3)},
        4 * 5 * 8 * 3,
        24,
    ),
    (
        ("LayerNormalization", "x s b", "y"),
        {"x": (1, 7, 12), "s": weights(12), "b": weights(12), "y": (1, 7, 12)},
        0,
        24,
    ),
    (
        ("BatchNormalization", "x s b m v", "y"),
        {"x": (1, 3, 2, 2), "y": (1, 3, 2, 2)} | {name: weights(3) for name in "sbmv"},
        0,
        6,
    ),
    (("Gather", "w x", "y"), {"w": weights(9, 4), "x": ((5,), "int64"), "y": (5, 4)}, 0, 36),
    (("LRN", "x", "y", {"size": 5}), {"x": (1, 3, 2, 2), "y": (1, 3, 2, 2)}, 0, 0),
]

#: x, its scale and zero point, as the ops on quantized tensors want it.
U8 = {"s": np.array(0.5, np.float32), "z": np.array(3, np.uint8), "zw": np.array(0, np.int8)}
INTEGER = [
    (
        ("QLinearConv", "x s z w s zw s z b", "y"),
        {"x": ((1, 3, 4, 4), "uint8"), "w": weights(6, 3, 1, 1, dtype=np.int8)}
        | {"b": weights(6, dtype=np.int32), "y": ((1, 6, 4, 4), "uint8")},
        (6 * 4 * 4) * 3,
        24,
    ),
    (
        ("ConvInteger", "x w z zw", "y"),
        {"x": ((1, 3, 4, 4), "uint8"), "w": weights(6, 3, 1, 1, dtype=np.int8), "y": ((1, 6, 4, 4), "int32")},
        (6 * 4 * 4) * 3,
        18,
    ),
    (
        ("QLinearMatMul", "x s z w s zw s z", "y"),
        {"x": ((5, 8), "uint8"), "w": weights(8, 3, dtype=np.int8), "y": ((5, 3), "uint8")},
        5 * 8 * 3,
        24,
    ),
    (
        ("MatMulInteger", "x w z zw", "y"),
        {"x": ((5, 8), "uint8"), "w": weights(8, 3, dtype=np.int8), "y": ((5, 3), "int32")},
        5 * 8 * 3,
        24,
    ),
    (
        ("com.microsoft.QGemm", "x s z w s zw b s z", "y", {"transB": 1}),
        {"x": ((5, 8), "uint8"), "w": weights(3, 8, dtype=np.int8), "b": weights(3, dtype=np.int32)}
        | {"y": ((5, 3), "uint8")},
        5 * 8 * 3,
        27,
    ),
    (
        ("com.microsoft.FusedConv", "x w b", "y", {"activation": "Relu"}),
        {"x": (1, 3, 4, 4), "w": weights(6, 3, 1, 1), "b": weights(6), "y": (1, 6, 4, 4)},
        (6 * 4 * 4) * 3,
        24,
    ),
    (
        ("com.microsoft.FusedGemm", "x w b", "y", {"activation": "Relu"}),
        {"x": (1, 12), "w": weights(12, 10), "b": weights(10), "y": (1, 10)},
        120,
        130,
    ),
]


def name_of(case):
    return f"{case[0][0]} of {case[0][1]}"


@pytest.mark.parametrize("case", TFLITE, ids=name_of)
def test_tflite_op(tmp_path, case):
    op, tensors, macs, params = case
    counted = costs(tmp_path / "op.tflite", [op], tensors)
    assert (counted.macs, counted.params, counted.ops) == (macs, params, {op[0]: 1})


@pytest.mark.parametrize("case", ONNX + INTEGER, ids=name_of)
def test_onnx_op(tmp_path, case):
    op, tensors, macs, params = case
    counted = costs(tmp_path / "op.onnx", [op], U8 | tensors)
    assert (counted.macs, counted.params, counted.ops) == (macs, params, {op[0]: 1})


def test_every_contraction_has_a_case_above():
    assert rules.CONTRACTIONS.keys() <= {op[0] for op, *_ in TFLITE + ONNX + INTEGER}


def test_kinds_are_those_of_the_two_formats():
    import onnx
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    theirs = set(vars(BuiltinOperator)) | {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    assert {kind for kind in rules.KNOWN if not kind.startswith("com.microsoft.")} <= theirs


# Which constants are weights. `r` is an activation that is not the input itself.


def onnx_params(path, *ops, **tensors):
    tensors = {"x": (1, 4, 6, 6), "w": weights(5, 4, 1, 1)} | tensors
    return costs(path / "net.onnx", ops, {"y": (1, 5, 6, 6)} | tensors).params


PER_CHANNEL = {name: weights(1, 5, 1, 1) for name in ("scale", "offset", "more")}
CONV = ("Conv", "x w", "c")


def test_scale_and_offset_after_a_kernel_fold_into_one_bias(tmp_path):
    affine = [("Mul", "c scale", "m"), ("Add", "m offset", "y")]
    assert onnx_params(tmp_path, CONV, *affine, **PER_CHANNEL) == 20 + 5


def test_scale_and_offset_fold_into_the_bias_that_is_there(tmp_path):
    ops = [("Conv", "x w b", "c"), ("Mul", "c scale", "m"), ("Add", "m offset", "y")]
    assert onnx_params(tmp_path, *ops, **PER_CHANNEL, b=weights(5)) == 20 + 5


def test_second_offset_folds_into_the_first(tmp_path):
    ops = [CONV, ("Add", "c offset", "a"), ("Mul", "a scale", "m"), ("Sub", "m more", "y")]
    assert onnx_params(tmp_path, *ops, **PER_CHANNEL) == 20 + 5


def test_batch_norm_after_a_kernel_folds_into_one_bias(tmp_path):
    norm = ("BatchNormalization", "c s o m v", "y")
    assert onnx_params(tmp_path, CONV, norm, **{name: weights(5) for name in "somv"}) == 20 + 5


def test_scale_behind_an_activation_stays(tmp_path):
    ops = [CONV, ("Relu", "c", "r"), ("Mul", "r scale", "m"), ("Add", "m offset", "y")]
    assert onnx_params(tmp_path, *ops, **PER_CHANNEL) == 20 + 5 + 5


def test_scale_of_a_kernel_that_another_op_reads_stays(tmp_path):
    ops = [CONV, ("Mul", "c scale", "m"), ("Add", "m c", "y")]
    assert onnx_params(tmp_path, *ops, **PER_CHANNEL) == 20 + 5


def test_activation_fused_into_the_kernel_keeps_the_scale(tmp_path):
    tensors = {"x": (1, 4, 4, 3), "w": weights(5, 1, 1, 3), "b": weights(5), "s": weights(5)}
    tensors |= {"c": (1, 4, 4, 5), "y": (1, 4, 4, 5)}

    def counted(activation):
        conv = ("CONV_2D", "x w b", "c", ("Conv2DOptions", {"fusedActivationFunction": activation}))
        return costs(tmp_path / "net.tflite", [conv, ("MUL", "c s", "y")], tensors).params

    assert (counted(0), counted(1)) == (15 + 5, 15 + 5 + 5)


def test_scale_and_offset_before_a_dense_layer_with_a_bias_fold_into_it(tmp_path):
    tensors = {"x": (1, 4), "w": weights(4, 3), "b": weights(3), "y": (1, 3)}
    tensors |= {"s": weights(4), "o": weights(4)}
    affine = [("Relu", "x", "r"), ("Mul", "r s", "m"), ("Add", "m o", "a")]
    with_bias = costs(tmp_path / "net.onnx", [*affine, ("Gemm", "a w b", "y")], tensors)
    without = costs(tmp_path / "net.onnx", [*affine, ("Gemm", "a w", "y")], tensors)
    assert (with_bias.params, without.params) == (12 + 3, 4 + 4 + 12)


def test_scale_and_offset_of_a_layer_norm_before_a_dense_layer_with_a_bias_fold_into_it(tmp_path):
    tensors = {"x": (1, 4), "y": (1, 3), "w": weights(4, 3), "b": weights(3)}
    tensors |= {"s": weights(4), "o": weights(4)}
    norm = ("LayerNormalization", "x s o", "a", {"axis": -1})
    with_bias = costs(tmp_path / "net.onnx", [norm, ("Gemm", "a w b", "y")], tensors)
    without = costs(tmp_path / "net.onnx", [norm, ("Gemm", "a w", "y")], tensors)
    assert (with_bias.params, without.params) == (12 + 3, 4 + 4 + 12)


def test_layer_norm_before_a_dense_layer_with_a_bias_folds_into_it_quantized_or_not(tmp_path):
    tensors = U8 | {"x": (1, 4), "y": (1, 3), "w": weights(4, 3), "b": weights(3)}
    tensors |= {"k": weights(4), "o": weights(4)}
    norm, dense = ("LayerNormalization", "x k o", "n"), ("Gemm", "d w b", "y")
    quantized = [norm, ("QuantizeLinear", "n s z", "q"), ("DequantizeLinear", "q s z", "d"), dense]
    assert costs(tmp_path / "int8.onnx", quantized, tensors).params == 12 + 3
    assert costs(tmp_path / "fp32.onnx", [norm, ("Gemm", "n w b", "y")], tensors).params == 12 + 3
    assert costs(tmp_path / "none.onnx", [norm, ("Gemm", "n w", "y")], tensors).params == 4 + 4 + 12


def test_scale_behind_a_quantized_kernel_stays(tmp_path):
    quantized = [("QuantizeLinear", "c s z", "q"), ("DequantizeLinear", "q s z", "d")]
    ops = [CONV, *quantized, ("Mul", "d scale", "y")]
    assert onnx_params(tmp_path, *ops, **PER_CHANNEL, **U8) == 20 + 5


def test_bias_of_zeros_counts_as_none(tmp_path):
    ops = [("Conv", "x w b", "y")]
    assert onnx_params(tmp_path, *ops, b=np.zeros(5, np.float32)) == 20


def test_scalars_do_not_count(tmp_path):
    ops = [CONV, ("Add", "c three", "a"), ("Relu", "a", "r"), ("Mul", "r sixth", "y")]
    tensors = {"three": np.array(3, np.float32), "sixth": np.full((1, 1, 1, 1), 1 / 6, np.float32)}
    assert onnx_params(tmp_path, *ops, **tensors) == 20


def test_normalisation_of_the_picture_does_not_count(tmp_path):
    ops = [("Sub", "x mean", "a"), ("Div", "a std", "n"), ("Conv", "n w", "y")]
    assert onnx_params(tmp_path, *ops, mean=weights(1, 4, 1, 1), std=weights(1, 4, 1, 1)) == 20


def test_position_embedding_and_class_token_count(tmp_path):
    ops = [CONV, ("Reshape", "c shape", "t")]
    ops += [("Concat", "token t", "u", {"axis": 1}), ("Add", "u table", "y")]
    tensors = {"shape": np.array([1, 36, 5]), "token": weights(1, 1, 5), "table": weights(1, 37, 5)}
    assert onnx_params(tmp_path, *ops, y=(1, 37, 5), **tensors) == 20 + 5 + 37 * 5


def test_shared_kernel_counts_once_and_works_twice(tmp_path):
    ops = [("Conv", "x w", "c"), ("Conv", "c w", "y")]
    tensors = {"x": (1, 4, 6, 6), "w": weights(4, 4, 1, 1), "y": (1, 4, 6, 6)}
    counted = costs(tmp_path / "net.onnx", ops, tensors)
    assert (counted.params, counted.macs) == (16, 2 * 16 * 36)


def test_weights_behind_casts_and_reshapes_count_as_they_are_stored(tmp_path):
    tensors = {"x": (1, 4, 6, 6), "half": weights(5, 4, dtype=np.float16), "shape": np.array([5, 4, 1, 1])}
    ops = [("Cast", "half", "h", {"to": 1}), ("Reshape", "h shape", "w"), ("Conv", "x w", "y")]
    counted = costs(tmp_path / "net.onnx", ops, tensors | {"y": (1, 5, 6, 6)})
    assert (counted.params, counted.macs) == (20, 20 * 36)


def test_product_of_constants_is_no_work(tmp_path):
    ops = [("MatMul", "a b", "w"), ("MatMul", "x w", "y")]
    tensors = {"x": (1, 4), "a": weights(4, 7), "b": weights(7, 3), "y": (1, 3)}
    counted = costs(tmp_path / "net.onnx", ops, tensors)
    assert (counted.macs, counted.params) == (12, 12)


# Activation memory. Four bytes an element.


def test_a_branch_is_live_until_its_last_reader(tmp_path):
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    ops = [
        ("Relu", "x", "a"),  # x 100, a 100
        ("MaxPool", "a", "b", pool),  # a 100, b 25
        ("Tanh", "b", "c"),  # a 100, b 25, c 25
        ("Sigmoid", "a", "d"),  # a 100, c 25, d 100: most
        ("GlobalAveragePool", "d", "e"),  # c 25, d 100, e 1
        ("Add", "c e", "y"),  # c 25, e 1, y 25
    ]
    tensors = {"x": (1, 1, 10, 10), "y": (1, 1, 5, 5)}
    assert costs(tmp_path / "net.onnx", ops, tensors).activation_bytes == 4 * 225


def test_inputs_are_live_to_their_last_reader_and_outputs_to_the_end(tmp_path):
    ops = [("RELU", "x", "a"), ("RELU", "a", "b"), ("RELU", "b", "y")]
    ops += [("ADD", "x y", "z"), ("MEAN", "z k", "m")]
    tensors = dict.fromkeys("xabyz", (1, 100)) | {"k": np.array([1], np.int32), "m": (1,)}
    early = costs(tmp_path / "net.tflite", ops[:3], tensors, outputs="y")
    late = costs(tmp_path / "net.tflite", ops, tensors, outputs="m")
    both = costs(tmp_path / "net.tflite", ops, tensors, outputs="a m")
    assert early.activation_bytes == 4 * 200
    assert late.activation_bytes == 4 * 300
    assert both.activation_bytes == 4 * 400


def test_dequantized_constants_are_no_activations(tmp_path):
    ops = [("DEQUANTIZE", "half", "w"), ("FULLY_CONNECTED", "x w -", "y")]
    tensors = {"x": (1, 10), "half": weights(10, 10, dtype=np.float16), "w": (10, 10), "y": (1, 10)}
    counted = costs(tmp_path / "net.tflite", ops, tensors)
    assert (counted.activation_bytes, counted.params) == (4 * 20, 100)


QDQ = [
    ("QuantizeLinear", "x s z", "xq"),
    ("DequantizeLinear", "xq s z", "xd"),
    ("DequantizeLinear", "wq s zw", "wd"),
    ("MatMul", "xd wd", "a"),
    ("Relu", "a", "b"),
    ("QuantizeLinear", "b s z", "bq"),
    ("DequantizeLinear", "bq s z", "bd"),
    ("Flatten", "bd", "f"),
    ("QuantizeLinear", "f s z", "fq"),
    ("DequantizeLinear", "fq s z", "y"),
]
QDQ_TENSORS = U8 | {"x": (1, 100), "wq": weights(100, 100, dtype=np.int8), "y": (1, 100)}


def test_qdq_tensors_count_as_the_quantized_ones(tmp_path):
    counted = costs(tmp_path / "net.onnx", QDQ, QDQ_TENSORS)
    # Most at Relu, whose input stays float: 400 + 100; and at either end: float 400 + 100.
    assert (counted.activation_bytes, counted.params, counted.macs) == (500, 10_000, 10_000)


# Float ops.


def test_qdq_ops_between_dequantize_and_quantize_are_integer(tmp_path):
    assert costs(tmp_path / "net.onnx", QDQ, QDQ_TENSORS).float_ops == ()


@pytest.mark.parametrize(
    "replaced, names",
    [
        ({5: ("Tanh", "b", "bq"), 6: ("Identity", "bq", "bd")}, ("op of a", "op of b", "op of bq")),
        ({1: ("Identity", "x", "xd")}, ("op of a", "op of b")),
        ({9: ("Sigmoid", "f", "y")}, ("op of y",)),
    ],
    ids=["result not quantized", "operand not dequantized", "behind the last quantizer"],
)
def test_qdq_ops_with_a_float_end_are_float(tmp_path, replaced, names):
    ops = [replaced.get(index, op) for index, op in enumerate(QDQ)]
    assert costs(tmp_path / "net.onnx", ops, QDQ_TENSORS).float_ops == names


def test_tflite_ops_on_float_activations_are_float(tmp_path):
    ops = [
        ("QUANTIZE", "x", "q"),
        ("AVERAGE_POOL_2D", "q", "p"),
        ("RESHAPE", "p s", "r"),
        ("DEQUANTIZE", "r", "f"),
        ("SOFTMAX", "f", "y"),
    ]
    tensors = {"x": (1, 2, 2, 4), "q": ((1, 2, 2, 4), "int8"), "p": ((1, 1, 1, 4), "int8")}
    tensors |= {"s": np.array([1, 4], np.int32), "r": ((1, 4), "int8"), "f": (1, 4), "y": (1, 4)}
    assert costs(tmp_path / "net.tflite", ops, tensors).float_ops == ("y",)


# What is refused.


def refusal(path, *args, **options):
    with pytest.raises(UncountableOp) as error:
        costs(path, *args, **options)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", ["FlexErf", "LSTM", "WHILE"])
def test_tflite_op_without_a_rule_is_named(tmp_path, kind):
    ops = [("RELU", "x", "a"), (kind, "a", "y")]
    message = refusal(tmp_path / "net.tflite", ops, dict.fromkeys("xay", (1, 4)))
    assert f"op 1, {kind} 'y'" in message and ("custom" in message) == (kind == "FlexErf")


@pytest.mark.parametrize("kind", ["LSTM", "org.example.Magic", "com.microsoft.Attention"])
def test_onnx_op_without_a_rule_is_named(tmp_path, kind):
    ops = [("Relu", "x", "a"), (kind, "a", "y")]
    message = refusal(tmp_path / "net.onnx", ops, dict.fromkeys("xy", (1, 4)))
    assert f"op 1, {kind} 'op of y'" in message and ("custom" in message) == (kind == "org.example.Magic")


def test_control_flow_is_refused(tmp_path):
    ops, tensors = [("RELU", "x", "y")], dict.fromkeys("xy", (1, 4))
    assert "2 graphs" in refusal(tmp_path / "net.tflite", ops, tensors, graphs=2)


def test_shape_that_nobody_knows_is_refused(tmp_path):
    ops = [("Reshape", "x s", "a"), ("Relu", "a", "y")]
    tensors = {"x": (1, 4), "s": ((2,), "int64"), "y": (None, None)}
    message = refusal(tmp_path / "net.onnx", ops, tensors, inputs="x s")
    assert "op 0, Reshape 'op of a': the shape of 'a'" in message


def test_reshape_that_depends_on_an_open_batch_is_refused(tmp_path):
    ops = [("RESHAPE", "x s", "y")]
    tensors = {"x": (1, 8, 4), "s": np.array([-1, 4], np.int32), "y": (1, 4)}
    assert "32 elements and gives 4" in refusal(tmp_path / "net.tflite", ops, tensors, open_batch=True)


def test_op_that_does_not_fit_its_tensors_is_refused(tmp_path):
    tensors = {"x": (4,), "w": weights(4), "y": (4,)}
    assert "do not fit" in refusal(tmp_path / "net.tflite", [("BATCH_MATMUL", "x -", "y")], tensors)
    assert "do not fit" in refusal(tmp_path / "net.tflite", [("MUL", "x", "y")], tensors)
