"""Synthetic pictures are reproducible, distinct, and distributed like photographs."""

import numpy as np
import pytest

from edgecls import synthetic


def test_a_picture_depends_on_its_series_and_number_alone():
    ten = synthetic.pictures(10, 32, seed=3)
    assert (ten.shape, ten.dtype) == ((10, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(synthetic.pictures(4, 32, seed=3), ten[:4])
    np.testing.assert_array_equal(synthetic.pictures(2, 32, seed=3, first=7), ten[7:9])


def test_series_and_numbers_never_repeat_a_picture():
    seen = {picture.tobytes() for seed in range(8) for picture in synthetic.pictures(8, 16, seed=seed)}
    assert len(seen) == 64


def test_seeds_beyond_32_bits_are_series_of_their_own():
    seen = {synthetic.pictures(1, 16, seed=seed).tobytes() for seed in (0, 1, 2**32, 2**32 + 1, 2**64)}
    assert len(seen) == 5


def test_pixel_statistics_are_those_of_photographs():
    pixels = synthetic.pictures(200, 64).astype(float)
    np.testing.assert_allclose(pixels.mean((0, 1, 2)), (123.7, 116.3, 103.5), atol=8)
    assert 45 < pixels.std((1, 2)).mean() < 65  # contrast inside a picture
    assert 22 < pixels.mean((1, 2)).std(0).mean() < 40  # brightness from picture to picture
    red, green, blue = (pixels[..., channel] for channel in range(3))
    assert np.corrcoef(red.ravel(), green.ravel())[0, 1] > 0.9
    assert np.corrcoef(red.ravel(), blue.ravel())[0, 1] > 0.75


def slope(pictures):
    """Exponent with which the amplitude of brightness falls with frequency, mean over pictures."""
    size = pictures.shape[1]
    amplitude = np.abs(np.fft.rfft2(pictures.mean(-1))).mean(0)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    inside = (frequency > 2 / size) & (frequency < 0.4)
    return np.polyfit(np.log(frequency[inside]), np.log(amplitude[inside]), 1)[0]


def test_amplitude_falls_with_frequency_and_white_noise_does_not():
    assert -1.6 < slope(synthetic.pictures(50, 128)) < -1.0
    white = np.random.default_rng(0).uniform(0, 255, (50, 128, 128, 3))
    assert slope(white) == pytest.approx(0, abs=0.05)


def test_one_channel_holds_brightness():
    gray = synthetic.pictures(20, 32, channels=1)
    assert gray.shape == (20, 32, 32, 1)
    assert gray.std((1, 2)).min() > 15
