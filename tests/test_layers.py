"""Layer costs of models small enough to count by hand."""

import keras
import pytest

from edgecls import keras_layers, layers
from edgecls.errors import UncountableOp


def costs(*stack, size=(8, 8, 3)):
    image = x = keras.Input(size)
    for layer in stack:
        x = layer(x)
    return layers.describe(keras.Model(image, x))[1:]  # the input is first, and free


def test_convolution_counts_outputs_times_kernel():
    [cost] = costs(keras.layers.Conv2D(4, 3, strides=2, padding="same", name="c"))
    assert cost == layers.LayerCost(
        name="c", kind="Conv2D", output_shape=(4, 4, 4), params=3 * 3 * 3 * 4 + 4, macs=4 * 4 * 4 * 27
    )


def test_grouped_convolution_counts_the_channels_of_one_group():
    [cost] = costs(keras.layers.Conv2D(6, (1, 5), padding="same", groups=3, use_bias=False), size=(8, 8, 12))
    assert (cost.params, cost.macs) == (1 * 5 * 4 * 6, 8 * 8 * 6 * 5 * 4)


def test_depthwise_convolution_counts_its_own_window_only():
    [cost] = costs(keras.layers.DepthwiseConv2D(3, depth_multiplier=2))
    assert (cost.params, cost.macs) == (9 * 6 + 6, 6 * 6 * 6 * 9)


def test_separable_convolution_counts_both_halves():
    [cost] = costs(keras.layers.SeparableConv2D(5, 3, use_bias=False))
    assert (cost.params, cost.macs) == (9 * 3 + 3 * 5, 6 * 6 * (3 * 9 + 5 * 3))


def test_dense_on_tokens_counts_every_token():
    [cost] = costs(keras.layers.Dense(7), size=(10, 4))
    assert (cost.params, cost.macs) == (4 * 7 + 7, 10 * 7 * 4)


def test_matrix_product_counts_the_shared_axis():
    a, b = keras.Input((2, 5, 3)), keras.Input((2, 3, 4))
    assert layers.count(keras.Model([a, b], keras.ops.matmul(a, b))) == (0, 2 * 5 * 4 * 3)


def test_norms_and_activations_cost_parameters_but_no_macs():
    norm, relu = costs(keras.layers.BatchNormalization(), keras.layers.ReLU())
    assert (norm.params, norm.macs) == (6, 0)
    assert (relu.params, relu.macs) == (0, 0)


def test_frozen_layers_keep_their_parameters():
    dense = keras.layers.Dense(2)
    dense.trainable = False
    assert costs(dense, size=(3,))[0].params == 8


def test_shared_layer_works_twice_and_is_stored_once():
    shared = keras.layers.Conv2D(3, 1, use_bias=False)
    first, second = costs(shared, shared)
    assert (first.params, second.params) == (9, 0)
    assert first.macs == second.macs == 8 * 8 * 9


def test_nested_models_are_opened():
    inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 1, name="c")], name="inner")
    assert [cost.name for cost in costs(inner) if cost.macs] == ["inner/c"]
    assert sum(cost.macs for cost in costs(inner)) == 8 * 8 * 2 * 3


def test_unknown_layer_with_weights_is_named():
    with pytest.raises(UncountableOp, match="'gru' is a GRU"):
        costs(keras.layers.GRU(2, name="gru"), size=(4, 3))


def test_open_input_size_is_refused():
    with pytest.raises(UncountableOp, match="fixed size"):
        costs(keras.layers.Conv2D(2, 1), size=(None, None, 3))


def test_folded_batch_norm_leaves_kernel_and_bias():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, use_bias=False)(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.DepthwiseConv2D(3, use_bias=True)(x)
    x = keras.layers.BatchNormalization(scale=False)(x)
    model = keras.Model(image, x)
    assert layers.folded_params(model) == (12 + 4) + (36 + 4)


def test_batch_norm_that_cannot_be_folded_leaves_scale_and_offset():
    image = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(image)
    relu = keras.layers.Conv2D(4, 1, activation="relu", bias_initializer="ones")(x)
    read_twice = keras.layers.Conv2D(4, 1, bias_initializer="ones")(x)
    norms = [keras.layers.BatchNormalization()(t) for t in (relu, read_twice)]
    model = keras.Model(image, keras.layers.Add()([*norms, read_twice]))
    assert layers.folded_params(model) == 6 + (12 + 4) + (12 + 4) + 8 + 8


def test_batch_norm_before_a_dense_layer_disappears_in_it():
    image = keras.Input((8,))
    x = keras.layers.Dense(5, use_bias=False)(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dense(3, bias_initializer="ones")(x)
    x = keras.layers.BatchNormalization()(keras.layers.ReLU()(x))
    x = keras.layers.Dense(2, use_bias=False)(x)
    assert layers.folded_params(keras.Model(image, x)) == 40 + (15 + 3) + 6 + 6


def test_bias_of_zeros_is_not_left_in_a_folded_graph():
    image = keras.Input((8, 8, 3))
    x = keras.layers.ReLU()(keras.layers.Conv2D(4, 1)(image))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(5, 1)(x))
    x = keras.layers.Conv2D(6, 1, bias_initializer="ones")(x)
    assert layers.folded_params(keras.Model(image, x)) == 12 + (20 + 5) + (30 + 6)


def test_our_layer_norm_leaves_scale_and_offset_in_a_dense_layer_with_a_bias():
    tokens = keras.Input((3, 8))
    x = keras.layers.Dense(5, bias_initializer="ones")(keras_layers.LayerNorm()(tokens))
    x = keras.layers.Dense(4, use_bias=False)(keras_layers.LayerNorm()(x))
    x = keras.layers.Dense(2, bias_initializer="ones")(keras.layers.LayerNormalization(beta_initializer="ones")(x))
    assert layers.folded_params(keras.Model(tokens, x)) == (40 + 5) + 10 + 20 + 8 + (8 + 2)


def test_a_table_of_relative_positions_is_spread_out_to_all_pairs():
    logits = keras.Input((2, 9, 9))
    model = keras.Model(logits, keras_layers.RelativePositionBias(side=3)(logits))
    assert (layers.count(model)[0], layers.folded_params(model)) == (25 * 2, 2 * 9 * 9)
