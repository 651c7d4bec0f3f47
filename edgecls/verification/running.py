"""Pictures in, logits out, whatever types the graph's ends have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from edgecls import runtimes
from edgecls.artifact import TensorInfo


def logits(
    session: runtimes.Session, pictures: Iterable[np.ndarray], *, ends: Mapping[str, TensorInfo] | None = None
) -> np.ndarray:
    """Float32 logits (count, classes) for pictures (1, height, width, channels) each.

    Pictures are float32 in the model's own space, their axes in this order or the graph's own; they
    are quantized for a graph of integer input. ends: how the graph's ends are quantized where its
    file cannot say.
    """
    ends = ends or {}
    (source,), (sink,) = session.inputs, session.outputs
    source, sink = ends.get(source.name, source), ends.get(sink.name, sink)
    rows = []
    for picture in pictures:
        (result,) = runtimes.run(session, [quantized(oriented(picture, source.shape), source)])
        rows.append(dequantized(result, sink).reshape(-1))
    return np.stack(rows)


def oriented(pictures: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pictures (..., height, width, channels) in the order of axes of a graph's input `shape`."""
    return pictures if pictures.shape[-len(shape) :] == tuple(shape) else np.moveaxis(pictures, -1, -3)


def quantized(value: np.ndarray, tensor: TensorInfo) -> np.ndarray:
    """`value` as the graph takes it: round(value / scale) + zero point, clipped to the type."""
    if tensor.dtype.startswith("float"):
        return np.ascontiguousarray(value, tensor.dtype)
    limits = np.iinfo(tensor.dtype)
    steps = np.rint(value / np.float32(tensor.scale)) + tensor.zero_point
    return np.ascontiguousarray(np.clip(steps, limits.min, limits.max).astype(tensor.dtype))


def dequantized(value: np.ndarray, tensor: TensorInfo) -> np.ndarray:
    """What the graph's `value` stands for, float32."""
    if tensor.dtype.startswith("float"):
        return value.astype(np.float32)
    return (value.astype(np.float32) - tensor.zero_point) * np.float32(tensor.scale)
