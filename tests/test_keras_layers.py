"""Our own Keras layers against their formulas in numpy."""

import keras
import numpy as np

from edgecls import keras_layers


def test_local_response_normalization_divides_by_its_neighbours():
    x = np.random.default_rng(0).standard_normal((2, 3, 3, 7)).astype(np.float32) * 10
    layer = keras_layers.LocalResponseNormalization(radius=2, bias=2.0, alpha=1e-2, beta=0.75)
    expected = np.empty_like(x)
    for channel in range(7):
        neighbours = x[..., max(channel - 2, 0) : channel + 3]
        expected[..., channel] = x[..., channel] / (2.0 + 1e-2 * (neighbours**2).sum(axis=-1)) ** 0.75
    np.testing.assert_allclose(np.asarray(layer(x)), expected, rtol=1e-5)


def test_a_model_with_our_layers_is_saved_and_loaded(tmp_path):
    image = keras.Input((4, 4, 7))
    layer = keras_layers.LocalResponseNormalization(radius=1, bias=1.0, alpha=0.5, beta=0.5)
    model = keras.Model(image, layer(image))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.ones((1, 4, 4, 7), np.float32)
    np.testing.assert_array_equal(np.asarray(loaded(x)), np.asarray(model(x)))
