"""Ranges of activations: the values that the first and the last integer stand for.

Everything outside of a range is clipped to it; a narrower one has finer steps inside. On the trained
MobileNetV2, int8, calibrated on 100 photographs, against float on 300 others (scripts/calibration_methods):

                TFLite: SQNR  same best class  top-1    ONNX: SQNR  same best class  top-1
    float                                      0.857                                 0.857
    min-max          20.9 dB            0.983  0.857       20.9 dB            0.983  0.857
    percentile       21.5 dB            0.973  0.860       21.7 dB            0.973  0.857
    entropy          13.2 dB            0.943  0.873       13.5 dB            0.953  0.860
    mse              21.9 dB            0.977  0.860       21.9 dB            0.980  0.857

Top-1 tells none of them apart: one photograph is 0.003, and 300 are sure to 0.04. Min-max, which takes
half as long and clips nothing that was seen, is the default; mse is worth a try where int8 loses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgecls.errors import WorkFailed
from edgecls.exporters import activations

#: Share of the values that `percentile` keeps, %.
_PERCENTILE = 99.99
_BINS = 2048
#: Values of a tensor that are counted of each picture: more change nothing.
_COUNTED = 2**15
#: Narrowest range tried, and how many are, as shares of the widest.
_SHARES = np.linspace(1.0, 0.2, 81)

Ends = tuple[float, float]


def find(
    source: str,
    pictures: np.ndarray,
    method: str,
    levels: int,
    emit: Callable[[dict], None],
    averaged: Mapping[str, int] | None = None,
) -> tuple[dict[str, Ends], dict[str, np.ndarray]]:
    """The range of the input and of each tensor that the float file `source` computes, by name; and means.

    pictures: (count, 1, ...) as the file takes them; levels: how many integers there are.
    averaged: tensors whose channels' means are wanted, and their axis of channels.
    Raises WorkFailed that names the first tensor with a value that is not finite.
    """
    run, averaged = activations.open(source), averaged or {}
    widest, sums = {}, {}
    for done, picture in enumerate(pictures):
        for name, value in run(picture):
            if not np.isfinite(value).all():
                found = f"{wrong(value)} in {name!r}"
                raise WorkFailed(f"the float model computes {found}, the first layer that does")
            low, high = widest.get(name, (np.inf, -np.inf))
            widest[name] = min(low, float(value.min())), max(high, float(value.max()))
            if name in averaged:
                sums[name] = sums.get(name, 0) + _mean(value, averaged[name])
        emit({"done": done + 1, "total": len(pictures)})
    means = {name: total / len(pictures) for name, total in sums.items()}
    if method == "min-max":
        return widest, means
    counts = {name: np.zeros(_BINS, np.int64) for name, (low, high) in widest.items() if high > low}
    for done, picture in enumerate(pictures):
        for name, value in run(picture):
            if name in counts:
                # An odd step meets all channels, whose number is even as a rule.
                some = value.ravel()[:: value.size // _COUNTED | 1]
                counts[name] += np.histogram(some, _BINS, widest[name])[0]
        emit({"done": done + 1, "total": len(pictures)})
    narrow = {"percentile": _percentile, "entropy": _entropy, "mse": _mse}[method]
    return widest | {name: narrow(counted, *widest[name], levels) for name, counted in counts.items()}, means


def _mean(value: np.ndarray, axis: int) -> np.ndarray:
    """Of each channel."""
    channels = np.moveaxis(value, axis, -1).reshape(-1, value.shape[axis])
    return channels.mean(axis=0, dtype=np.float64)


def wrong(value: np.ndarray) -> str:
    """What is not finite in `value`, in words."""
    return "NaN" if np.isnan(value).any() else "an infinity"


def _percentile(counts, low, high, levels):
    outside = (1 - _PERCENTILE / 100) / 2
    share = np.cumsum(counts) / counts.sum()
    edges = np.linspace(low, high, len(counts) + 1)
    first, last = np.searchsorted(share, [outside, 1 - outside])
    return float(min(edges[first], 0)), float(max(edges[last + 1], 0))


def _mse(counts, low, high, levels):
    """Least mean squared error of what is clipped and rounded."""
    edges = np.linspace(low, high, len(counts) + 1)
    values = (edges[:-1] + edges[1:]) / 2

    def error(low, high):
        step = (high - low) / (levels - 1)
        return counts @ (np.clip(np.rint(values / step) * step, low, high) - values) ** 2

    return _narrowed(error, low, high)


def _entropy(counts, low, high, levels):
    """Least divergence (Kullback-Leibler) of the distribution from its quantized self.

    S. Migacz, "8-bit inference with TensorRT", GTC 2017.
    """
    edges = np.linspace(low, high, len(counts) + 1)
    spread = counts.copy()
    for value in (low, 0, high):  # of ReLU and ReLU6: exact when quantized, and frequent beyond their bins
        spread[min(np.searchsorted(edges, value, "right"), len(counts)) - 1] = 0

    def divergence(low, high):
        first, last = np.searchsorted(edges, [low, high])
        first, last = max(first - 1, 0), min(last, len(counts))
        inside = spread[first:last].astype(float)
        group = np.arange(last - first) * levels // (last - first)
        filled = inside > 0
        share = np.bincount(group, inside, levels) / np.maximum(np.bincount(group, filled, levels), 1)
        quantized = np.where(filled, share[group], 0)
        inside[0] += spread[:first].sum()
        inside[-1] += spread[last:].sum()
        p, q = inside / inside.sum(), np.maximum(quantized / max(quantized.sum(), 1), 1e-12)
        return (p * np.log(np.maximum(p, 1e-12) / q)).sum()

    return _narrowed(divergence, low, high)


def _narrowed(loss, low, high):
    """The range of least loss: the upper end first, then the lower. 0 stays inside."""
    low, high = min(low, 0), max(high, 0)
    if high > 0:
        high *= min(_SHARES, key=lambda share: loss(low, high * share))
    if low < 0:
        low *= min(_SHARES, key=lambda share: loss(low * share, high))
    return float(low), float(high)
