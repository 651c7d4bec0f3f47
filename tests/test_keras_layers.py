"""Our own Keras layers against their formulas in numpy."""

import math

import keras
import numpy as np
import pytest

from edgecls import keras_layers


def test_local_response_normalization_divides_by_its_neighbours():
    x = np.random.default_rng(0).standard_normal((2, 3, 3, 7)).astype(np.float32) * 10
    layer = keras_layers.LocalResponseNormalization(radius=2, bias=2.0, alpha=1e-2, beta=0.75)
    expected = np.empty_like(x)
    for channel in range(7):
        neighbours = x[..., max(channel - 2, 0) : channel + 3]
        expected[..., channel] = x[..., channel] / (2.0 + 1e-2 * (neighbours**2).sum(axis=-1)) ** 0.75
    np.testing.assert_allclose(np.asarray(layer(x)), expected, rtol=1e-5)


def test_gelu_is_exact():
    x = np.linspace(-4, 4, 33, dtype=np.float32)
    expected = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()]
    np.testing.assert_allclose(np.asarray(keras_layers.gelu(x)), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(5,), (6, 5), (2, 3, 5)])
def test_layer_norm_is_that_of_keras(shape):
    x = np.random.default_rng(0).normal(3, 2, (4, *shape)).astype(np.float32)
    ours, theirs = keras_layers.LayerNorm(epsilon=1e-6), keras.layers.LayerNormalization(epsilon=1e-6)
    for layer in (ours, theirs):
        layer.build(x.shape)
        layer.gamma.assign(np.linspace(0.5, 2, 5))
        layer.beta.assign(np.linspace(-1, 1, 5))
    np.testing.assert_allclose(np.asarray(ours(x)), np.asarray(theirs(x)), atol=1e-5)


def test_class_token_stands_in_front():
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    layer = keras_layers.ClassToken()
    layer.build(x.shape)
    layer.token.assign(np.full((1, 1, 4), 7.0))
    y = np.asarray(layer(x))
    np.testing.assert_array_equal(y[:, 0], np.full((2, 4), 7.0))
    np.testing.assert_array_equal(y[:, 1:], x)


def test_relative_position_bias_depends_on_the_offset_of_two_pixels():
    side, heads = 3, 2
    layer = keras_layers.RelativePositionBias(side=side)
    layer.build((1, heads, side**2, side**2))
    table = np.random.default_rng(0).standard_normal((25, heads)).astype(np.float32)
    layer.table.assign(table)
    bias = np.asarray(layer(np.zeros((1, heads, 9, 9), np.float32)))[0]
    for query in range(9):
        for key in range(9):
            down = query // side - key // side + side - 1
            right = query % side - key % side + side - 1
            np.testing.assert_array_equal(bias[:, query, key], table[down * 5 + right])


def test_a_model_with_our_layers_is_saved_and_loaded(tmp_path):
    image = keras.Input((4, 4, 7))
    layer = keras_layers.LocalResponseNormalization(radius=1, bias=1.0, alpha=0.5, beta=0.5)
    model = keras.Model(image, layer(image))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.ones((1, 4, 4, 7), np.float32)
    np.testing.assert_array_equal(np.asarray(loaded(x)), np.asarray(model(x)))
