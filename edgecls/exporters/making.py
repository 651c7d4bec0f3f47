"""The child process that has TensorFlow: it builds, freezes, converts, says what is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecls import builder, keras_file, layers
from edgecls.errors import UncountableOp, WorkFailed
from edgecls.exporters import calibration, frozen

#: Names of what is left in the work folder.
SKELETON, KERNELS = "skeleton.onnx", "kernels.safetensors"
CALIBRATION, HELD, HELD_WORDS, REFERENCE = "calibration.npy", "held.npy", "held.txt", "reference.npy"

#: Empty files that say what is there: the ONNX graph and its kernels; the float .tflite and the
#: pictures; the float model's logits.
CONVERTED, QUANTIZABLE, CHECKABLE = "converted", "quantizable", "checkable"


def make(
    row: dict[str, Any] | None, path: str | None, plan: dict[str, Any], work: str, tflite: str | None, onnx: bool, emit
) -> dict[str, Any]:
    """Child process: from a row, or the model file at `path`, to the work folder's files.

    row: keyword arguments of `builder.build`. plan: of `calibration.plan`, as JSON. tflite: where
    to write the float .tflite, if it is wanted. onnx: whether an ONNX graph is wanted.
    Returns what a manifest wants to know of the model, and of the pictures.
    """
    folder = Path(work)
    emit({"stage": "load TensorFlow"})
    import numpy as np
    import tensorflow  # noqa: F401  here, so that the stage is what it says

    from edgecls.exporters import onnx as to_onnx
    from edgecls.exporters import tflite as to_tflite

    emit({"stage": "build"})
    model = builder.build(**row) if row else keras_file.load(Path(path))
    _, size, _, channels = model.input_shape
    emit({"stage": "freeze"})
    graph, run = frozen.freeze(model)
    emit({"stage": "convert"})
    if onnx:
        to_onnx.convert(graph, folder / SKELETON, folder / KERNELS)
    (folder / CONVERTED).touch()
    if tflite:
        to_tflite.convert(graph, Path(tflite))
    del graph
    emit({"stage": "pictures"})
    pictures = calibration.materialise(plan, size, channels, str(folder / CALIBRATION), str(folder / HELD))
    (folder / HELD_WORDS).write_text(pictures["held"], encoding="utf-8")
    (folder / QUANTIZABLE).touch()
    emit({"stage": "reference"})
    logits = np.concatenate([run(picture) for picture in np.load(folder / HELD)])
    if not np.isfinite(logits).all():
        raise WorkFailed("the float model gives logits that are not finite; its weights are damaged")
    np.save(folder / REFERENCE, logits)
    (folder / CHECKABLE).touch()
    return {"model": _facts(model, ours=row is not None), "pictures": pictures}


def _facts(model, ours):
    """What a manifest wants to know of the model; of one with layers of the user's own without counts."""
    _, height, width, channels = model.input_shape
    facts = {
        "classes": model.output_shape[-1],
        "input_size": (height, width),
        "channels": channels,
        "layout": "NHWC",
    }
    try:
        params, macs = layers.count(model)
        return facts | {"params": params, "folded_params": layers.folded_params(model), "macs": macs}
    except UncountableOp:
        if ours:
            raise
        return facts


def pictures(plan: dict[str, Any], size: int, channels: int, layout: str, work: str, emit) -> dict[str, Any]:
    """Child process: the pictures alone, where the float model is there already."""
    import numpy as np

    folder = Path(work)
    files = [str(folder / name) for name in (CALIBRATION, HELD)]
    facts = calibration.materialise(plan, size, channels, *files)
    if layout == "NCHW":
        for file in files:
            np.save(file, np.load(file).transpose(0, 1, 4, 2, 3))
    (folder / HELD_WORDS).write_text(facts["held"], encoding="utf-8")
    for marker in (QUANTIZABLE, CHECKABLE):
        (folder / marker).touch()
    return facts
