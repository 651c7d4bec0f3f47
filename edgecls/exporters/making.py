"""The child process that has TensorFlow: it builds, freezes, converts, says what is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgecls import builder, images, keras_file, layers, reference
from edgecls.errors import UncountableOp, WorkFailed
from edgecls.exporters import adoption, advice, calibration, finite, frozen
from edgecls.exporters.lowerings import shuffle
from edgecls.labels import fit as fit_labels
from edgecls.reference import Reference
from edgecls.spec import Preprocess

#: Names of what is left in the work folder.
SKELETON, KERNELS = "skeleton.onnx", "kernels.safetensors"
CALIBRATION, HELD = "calibration.npy", "held.npy"
#: The held pictures and the float model's logits: see `edgecls.reference`.
REFERENCE = "reference.npz"

#: Empty files that say what is there: the ONNX graph and its kernels; the float .tflite and the
#: calibration pictures.
CONVERTED, QUANTIZABLE = "converted", "quantizable"


def make(
    row: dict[str, Any] | None,
    file: dict[str, Any] | None,
    plan: dict[str, Any],
    model: dict[str, Any],
    labels: list[str] | None,
    lowerings: list[str],
    work: str,
    tflite: str | None,
    onnx: bool,
    emit,
) -> dict[str, Any]:
    """Child process: from a row, or a model file, to the work folder's files.

    row: keyword arguments of `builder.build`. file: of `keras_file.load`. plan: of `calibration.plan`,
    as JSON. model: see `reference.identity`. labels: names of the classes, if they are known.
    lowerings: those that may be applied. tflite: where to write the float .tflite, if it is wanted.
    onnx: whether an ONNX graph is wanted.
    Returns what a manifest wants to know of the model, and of the pictures.
    """
    folder = Path(work)
    emit({"stage": "load TensorFlow"})
    import tensorflow  # noqa: F401  here, so that the stage is what it says

    from edgecls.exporters import onnx as to_onnx
    from edgecls.exporters import tflite as to_tflite

    emit({"stage": "build"})
    net, notes = (builder.build(**row), []) if row else keras_file.load(**file)
    fit_labels(labels, net.output_shape[-1])  # raises, before the long work
    _, size, _, channels = net.input_shape
    trait = advice.trait(net)
    emit({"trait": trait})
    emit({"stage": "freeze"})
    name = "the model" if row else Path(file["path"]).name
    finite.check_weights(net, name)
    graph, run = frozen.freeze(net, name)
    last_op = frozen.last_op(graph)
    folded = shuffle.fold(net) if "shuffle" in lowerings else None
    if folded:
        graph, _ = frozen.freeze(folded, name)  # files are held against what the model itself computes
    emit({"stage": "convert"})
    if onnx:
        to_onnx.convert(graph, folder / SKELETON, folder / KERNELS)
    (folder / CONVERTED).touch()
    if tflite:
        to_tflite.convert(graph, Path(tflite))
    del graph
    emit({"stage": "pictures"})
    about = pictures(plan, size, channels, "NHWC", folder)
    emit({"stage": "reference"})

    def logits(inputs):
        found = np.concatenate([run(one) for one in inputs])
        finite.check_logits(net, inputs, found)
        return found

    refer(about["held"], model, folder, logits)
    notes += [] if row else adoption.answer_notes(Path(file["path"]).name, net.output_shape[-1], last_op)
    more = {"notes": notes, "lowerings": ["shuffle"] if folded else [], "trait": trait}
    return {"model": _facts(net, ours=row is not None) | more, "pictures": about}


def pictures(plan: dict[str, Any], size: int, channels: int, layout: str, folder: Path) -> dict[str, Any]:
    """Write the pictures into the work folder, for a graph of `layout`.

    Returns what a manifest wants to know of them.
    """
    about = calibration.materialise(plan, size, channels, str(folder / CALIBRATION), str(folder / HELD))
    if layout == "NCHW":
        np.save(folder / CALIBRATION, np.load(folder / CALIBRATION).transpose(0, 1, 4, 2, 3))
    (folder / QUANTIZABLE).touch()
    return about


def refer(
    held: dict[str, Any], model: dict[str, Any], folder: Path, logits: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Write the reference into the work folder.

    held: as `calibration.materialise` says it. logits: what the float model computes of inputs
    (count, 1, size, size, channels). Raises WorkFailed for logits that are not finite.
    """
    pixels = np.load(folder / HELD)
    preprocess = held["preprocess"] and Preprocess.from_json(held["preprocess"])
    found = logits(images.inputs(pixels, preprocess)[:, None])
    if not np.isfinite(found).all():
        raise WorkFailed("the float model gives logits that are not finite; its weights are damaged")
    reference.write(
        folder / REFERENCE,
        Reference(pictures=pixels, logits=found.astype(np.float32), words=held["words"], model=model),
    )


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
