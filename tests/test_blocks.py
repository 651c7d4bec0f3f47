"""Blocks whose arithmetic no golden model reaches at its own input size."""

import keras
import numpy as np
import pytest

from edgecls.models import _blocks


@pytest.mark.parametrize("side", [1, 5, 10, 14])
def test_adaptive_mean_covers_the_picture_with_bins(side):
    image = keras.Input((side, side, 2))
    model = keras.Model(image, _blocks.adaptive_mean(image, 7))
    picture = np.random.default_rng(0).standard_normal((1, side, side, 2)).astype(np.float32)
    expected = np.empty((1, 7, 7, 2))
    for row in range(7):
        for column in range(7):
            top, left = int(np.floor(row * side / 7)), int(np.floor(column * side / 7))
            bottom, right = int(np.ceil((row + 1) * side / 7)), int(np.ceil((column + 1) * side / 7))
            expected[:, row, column] = picture[:, top:bottom, left:right].mean(axis=(1, 2))
    np.testing.assert_allclose(np.asarray(model(picture)), expected, atol=1e-6)


def test_adaptive_mean_of_its_own_size_is_no_layer():
    image = keras.Input((7, 7, 2))
    assert _blocks.adaptive_mean(image, 7) is image
