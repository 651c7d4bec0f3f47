"""NaN and infinities in a float model: the first layer that has them is named before any work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecls import layers
from edgecls.errors import BadFile, WorkFailed
from edgecls.exporters import ranges
from edgecls.graph import read
from edgecls.graph.rules import CONTRACTIONS

if TYPE_CHECKING:
    import keras


def check_weights(model: keras.Model, name: str) -> None:
    """Raise BadFile that names the first weight of a Keras model with a value that is not finite."""
    for weight in model.weights:
        values = np.asarray(weight)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            found = f"{ranges.wrong(values)} in {weight.path}"
            raise BadFile(f"{name} has {found}, the first weight that does; train it again")


def check_constants(path: str | Path, size: int | None = None) -> None:
    """The same of the kernels and biases of a .tflite or .onnx file; infinities may pad elsewhere.

    size: of the pictures it will be given, where it leaves that open.
    """
    graph = read(path, size=size)
    for op in graph.ops:
        for tensor in op.inputs if op.kind in CONTRACTIONS else ():
            if tensor is not None and tensor.constant and tensor.floating:
                values = graph.values(tensor)
                if not np.isfinite(values).all():
                    found = f"{ranges.wrong(values)} in {tensor.name!r} of {op.kind} {op.name!r}"
                    raise BadFile(f"{Path(path).name} has {found}, the first layer that does")


def check_logits(model: keras.Model, inputs: np.ndarray, logits: np.ndarray) -> None:
    """Raise WorkFailed that names the first layer of a Keras model whose output is not finite, where its
    logits are not. inputs: pictures (count, 1, height, width, channels)."""
    if np.isfinite(logits).all():
        return
    import keras

    picture = inputs[int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])]
    calls = [(name, node.outputs) for name, node in layers.calls(model) if node.outputs]
    try:
        computed = keras.Model(model.inputs, [outputs for _, outputs in calls])(picture)
    except (ValueError, KeyError):  # a model inside of a model has tensors of its own
        raise WorkFailed("the float model gives logits that are not finite; its weights are damaged") from None
    for (name, _), values in zip(calls, computed, strict=True):
        for value in map(np.asarray, values):
            if not np.isfinite(value).all():
                found = f"{ranges.wrong(value)} in {name}"
                raise WorkFailed(f"the float model computes {found}, the first layer that does")
