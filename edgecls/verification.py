"""Does an artifact compute what its float model computes?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgecls import runtimes
from edgecls.artifact import Agreement, TensorInfo
from edgecls.errors import EdgeclsError, WorkFailed
from edgecls.graph import cost, read

#: Stands for a power or a deviation of zero.
_TINY = float(np.finfo(np.float32).tiny)


def sqnr_db(reference: np.ndarray, value: np.ndarray) -> float | None:
    """Power of `reference` over power of the difference, dB; None where there is no difference."""
    noise = np.square(reference - value, dtype=np.float64).sum()
    signal = np.square(reference, dtype=np.float64).sum()
    return float(10 * np.log10(max(signal, _TINY) / noise)) if noise else None


def agreement(reference: np.ndarray, logits: np.ndarray, *, pictures: str, min_sqnr_db: float) -> Agreement:
    """Compare logits (count, classes) with those of the float model.

    pictures: what they were computed on, in words. Passes when the SQNR is at least `min_sqnr_db`.
    Raises WorkFailed for shapes that differ and logits that are not finite.
    """
    if reference.shape != logits.shape:
        raise WorkFailed(f"the file gives logits of shape {logits.shape}, its float model {reference.shape}")
    for whose, values in (("float model", reference), ("file", logits)):
        if not np.isfinite(values).all():
            raise WorkFailed(f"the {whose} gives logits that are not finite; its weights are damaged")
    ratio = sqnr_db(reference, logits)
    return Agreement(
        sqnr_db=ratio,
        max_error=float(np.abs(reference - logits).max() / max(reference.std(), _TINY)),
        top1=float((reference.argmax(axis=1) == logits.argmax(axis=1)).mean()),
        samples=len(reference),
        pictures=pictures,
        min_sqnr_db=min_sqnr_db,
        passed=ratio is None or ratio >= min_sqnr_db,
    )


def logits(session: runtimes.Session, pictures: np.ndarray, *, ends: Mapping[str, TensorInfo] | None = None) -> np.ndarray:
    """Float32 logits (count, classes) for pictures (count, 1, height, width, channels).

    Pictures are float32 in the model's own space and the graph's own order of axes; they are
    quantized for a graph of integer input. ends: how the graph's ends are quantized where its file
    cannot say.
    """
    ends = ends or {}
    (source,), (sink,) = session.inputs, session.outputs
    source, sink = ends.get(source.name, source), ends.get(sink.name, sink)
    rows = []
    for picture in pictures:
        (result,) = runtimes.run(session, [quantized(picture, source)])
        rows.append(dequantized(result, sink).reshape(-1))
    return np.stack(rows)


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


def check(files: list[dict[str, Any]], pictures: str, reference: str, pictures_are: str) -> list[dict[str, Any]]:
    """Run each file on held-out pictures and compare it with the float model.

    files: {"path", "min_sqnr_db", "ends"} each. pictures: a .npy (count, 1, height, width,
    channels); pictures_are: in words. reference: a .npy of the float model's logits, or the float
    model as a file. Returns for each file the fields that a manifest wants to know of it.
    Raises WorkFailed.
    """
    costs = [_cost(Path(file["path"])) for file in files]
    held = np.load(pictures, mmap_mode="r")
    if reference.endswith(".npy"):
        wanted = np.load(reference)
    else:
        wanted = logits(runtimes.open(reference), held)
    return [_compare(file, counted, held, wanted, pictures_are) for file, counted in zip(files, costs, strict=True)]


def _cost(path):
    try:
        graph = read(path)
        custom = sorted({op.kind for op in graph.ops if op.custom})
        if custom:
            raise WorkFailed(f"{path.name} needs custom ops that phones have not: {', '.join(custom)}")
        return cost.cost(graph)
    except EdgeclsError as error:  # the file is our own work, whatever is wrong with it
        raise WorkFailed(str(error).replace(str(path), path.name)) from error


def _compare(file, counted, held, wanted, pictures_are):
    session = runtimes.open(file["path"])
    ends = {name: TensorInfo(**end) for name, end in file["ends"].items()}
    got = logits(session, held, ends=ends)
    (source,), (sink,) = session.inputs, session.outputs
    return {
        "agreement": dataclasses.asdict(
            agreement(wanted, got, pictures=pictures_are, min_sqnr_db=file["min_sqnr_db"])
        ),
        "input": dataclasses.asdict(ends.get(source.name, source)),
        "output": dataclasses.asdict(ends.get(sink.name, sink)),
        "params": counted.params,
        "macs": counted.macs,
        "float_ops": list(counted.float_ops),
    }
