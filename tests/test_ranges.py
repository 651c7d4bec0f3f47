"""Ranges of activations, by each method."""

import graph_files
import numpy as np
import pytest

from edgecls.exporters import ranges
from edgecls.exporters.calibration import METHODS

COUNT = 4


def found(tmp_path, values, method, suffix="tflite"):
    """Range of a tensor with `values`, (COUNT, n): y = x + 0."""
    add = "ADD" if suffix == "tflite" else "Add"
    shape = (1, values.shape[1])
    path = graph_files.write(
        tmp_path / f"net.{suffix}", [(add, "x zero", "y")], {"x": shape, "y": shape, "zero": np.zeros(1, np.float32)}
    )
    return ranges.find(str(path), values.astype(np.float32)[:, None], method, 256, lambda event: None)[0]["y"]


def error(values, low, high):
    """Mean squared error of 8 bits over that range."""
    step = (high - low) / 255
    return np.mean((np.clip(np.rint(values / step) * step, low, high) - values) ** 2)


@pytest.fixture
def tailed():
    """Normal values, and one in 20000 that is far out."""
    values = np.random.default_rng(0).normal(size=(COUNT, 20000))
    values[:, 0] = 40
    return values


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_min_max_is_what_was_seen(tmp_path, tailed, suffix):
    low, high = found(tmp_path, tailed, "min-max", suffix)
    assert low == pytest.approx(tailed.min()) and high == 40


def test_a_percentile_leaves_out_the_rarest_values(tmp_path, tailed):
    low, high = found(tmp_path, tailed, "percentile")
    assert -5 < low < -3.5 and 3.5 < high < 5
    kept = ((tailed > low) & (tailed < high)).mean()
    assert 0.9998 < kept < 1


def test_mse_has_the_least_error(tmp_path, tailed):
    low, high = found(tmp_path, tailed, "mse")
    least = error(tailed, low, high)
    assert least < error(tailed, *found(tmp_path, tailed, "min-max"))
    for share in (0.7, 1.4):
        assert least < error(tailed, share * low, share * high)


def test_entropy_narrows_what_is_mostly_empty(tmp_path, tailed):
    low, high = found(tmp_path, tailed, "entropy")
    assert tailed.min() <= low < -1 and 2 < high < 20


@pytest.mark.parametrize("method", METHODS)
def test_zero_stays_in_the_range_of_what_relu6_gives(tmp_path, method):
    values = np.clip(np.random.default_rng(0).normal(3, 3, (COUNT, 20000)), 0, 6)
    low, high = found(tmp_path, values, method)
    assert low == 0 and 3 < high <= 6


@pytest.mark.parametrize("method", METHODS)
def test_one_value_alone_has_a_range(tmp_path, method):
    assert found(tmp_path, np.full((COUNT, 4), 2.0), method) == (2, 2)
