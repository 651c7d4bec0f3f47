"""Synthetic pictures with the statistics of photographs, for when there are no photographs.

The amplitude spectrum of a natural scene falls as about 1/f (Field 1987), and its channels are
correlated: brightness varies most, blue against yellow less, green against magenta least (Ruderman
et al. 1998). The figures below were measured on centre crops of ImageNet photographs.
"""

from __future__ import annotations

import numpy as np

#: Mean colour of ImageNet, RGB, in pixel values.
_MEAN = (123.675, 116.28, 103.53)
#: Directions in which colours vary: brightness, blue to yellow, green to magenta.
_AXES = ((1, 1, 1), (1, 0, -1), (1, -2, 1))
#: Standard deviation along each direction, relative to brightness.
_STRENGTH = (1.0, 0.3, 0.08)
#: Standard deviation of brightness from picture to picture, in pixel values.
_CAST = 33.0
#: Standard deviation of brightness inside a picture: smallest and largest, in pixel values.
_CONTRAST = (32.0, 80.0)
#: Exponent of the spectrum's fall with frequency: smallest and largest.
_SLOPE = (1.0, 1.6)


def pictures(count: int, size: int, *, channels: int = 3, seed: int = 0, first: int = 0) -> np.ndarray:
    """Pictures `first` to `first + count - 1` of the endless series `seed`.

    Returns uint8 (count, size, size, channels), RGB, or brightness alone for one channel. A picture
    depends on its size, its channels, the series and its number in it, and on nothing else; two
    series have no picture in common. size: pixels, at least 2; channels: 1 or 3.
    """
    out = np.empty((count, size, size, channels), np.uint8)
    for number, picture in enumerate(out, start=first):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
        picture[...] = _picture(rng, size, channels)
    return out


def _picture(rng, size, channels):
    strength = np.array(_STRENGTH[:channels])
    cast = rng.standard_normal(channels) * strength * _CAST
    contrast = rng.uniform(*_CONTRAST) * strength
    slope = rng.uniform(*_SLOPE)
    axes = np.array(_AXES[:channels], float)[:, :channels]
    mean = np.array(_MEAN) if channels == 3 else np.mean(_MEAN)
    value = mean + (_noise(rng, size, channels, slope) * contrast + cast) @ axes
    return np.clip(np.rint(value), 0, 255).astype(np.uint8)


def _noise(rng, size, planes, slope):
    """1/f^slope noise (size, size, planes), each plane of mean 0 and standard deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    frequency[0, 0] = np.inf  # no constant part
    real, imaginary = rng.standard_normal((2, planes, *frequency.shape))
    noise = np.fft.irfft2((real + 1j * imaginary) / frequency**slope, s=(size, size)).transpose(1, 2, 0)
    return noise / noise.std(axis=(0, 1))
