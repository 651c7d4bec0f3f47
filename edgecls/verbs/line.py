"""The child process of one format: it joins, quantizes and checks, and has no TensorFlow."""

from __future__ import annotations

import importlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgecls import reference, runtimes, verification
from edgecls.exporters import finite, making

#: What takes long to import, and can be imported while the model is still being built.
_LIBRARIES = {
    "tflite": ("litert_quantizer.quantizer",),
    "onnx": ("onnx", "onnxruntime.quantization"),
}

_WAIT_SECONDS = 0.02


def finish(
    format: str,
    work: str,
    source: str,
    join: bool,
    files: list[dict[str, Any]],
    input_range: tuple[float, float] | None,
    preprocess: dict[str, Any] | None,
    emit,
) -> list[dict[str, Any]]:
    """Child process: make `files` of the float file `source` and run them all on held-out pictures.

    May be started before `making.make` or `prepare` is done; it waits for what it needs in the
    folder `work`.
    join: whether `source` is still to be made of what the conversion to ONNX left there.
    files: {"path", "precision", "io", "method", "per_tensor", "layers", "lowerings", "tolerance"} each;
    fp32 is `source` itself. lowerings: those that may be applied to int8.
    preprocess: how pictures become input, where somebody said it.
    Returns for each file what `verification.check` says, the seconds it took to make, the lowerings
    that had something to do, and notes.
    """
    exporter, folder = importlib.import_module(f"edgecls.exporters.{format}"), Path(work)
    for library in _LIBRARIES[format]:
        importlib.import_module(library)
    next(runtime for runtime in runtimes.RUNTIMES.values() if runtime.format == format).load()
    joined = 0.0
    if join:
        _wait_for(folder / making.CONVERTED)
        emit({"stage": "convert"})
        start = time.perf_counter()
        exporter.join(folder / making.SKELETON, folder / making.KERNELS, Path(source))
        joined = time.perf_counter() - start
    _wait_for(folder / making.QUANTIZABLE)
    seconds, made = [], []
    for file in files:
        start = time.perf_counter()
        said = {"ends": {}, "lowerings": [], "notes": []}
        if file["precision"] != "fp32":
            emit({"stage": f"make {file['precision']}"})
            said = exporter.quantize(
                source=source,
                target=file["path"],
                precision=file["precision"],
                calibration=str(folder / making.CALIBRATION),
                input_range=input_range,
                io=file["io"],
                method=file["method"],
                per_tensor=file["per_tensor"],
                layers=file["layers"],
                lowered_by=file["lowerings"],
                emit=emit,
            )
        seconds.append(time.perf_counter() - start if file["precision"] != "fp32" else joined)
        made.append(said)
    _wait_for(folder / making.REFERENCE)
    emit({"stage": "verify"})
    checked = verification.check(
        [{**file, "ends": said["ends"], "preprocess": preprocess} for file, said in zip(files, made, strict=True)],
        reference.read(folder / making.REFERENCE),
    )
    return [
        {**result, "seconds": taken, "lowerings": said["lowerings"], "notes": said["notes"]}
        for result, taken, said in zip(checked, seconds, made, strict=True)
    ]


def prepare(
    plan: dict[str, Any],
    size: int,
    channels: int,
    layout: str,
    model: dict[str, Any],
    source: str,
    kept: str,
    work: str,
    emit,
) -> dict[str, Any]:
    """Child process: what `making.make` does where the float model is there as the file `source`.

    kept: a reference that may be there, of the same model on the same pictures or of others.
    """
    finite.check_constants(source, size)
    emit({"stage": "pictures"})
    about = making.pictures(plan, size, channels, layout, Path(work))
    if reference.is_of(Path(kept), model, np.load(Path(work, making.HELD))):
        shutil.copyfile(kept, partial := Path(work, "kept.npz"))
        os.replace(partial, Path(work, making.REFERENCE))
    else:
        emit({"stage": "reference"})
        session = runtimes.open(source, size=size)
        making.refer(about["held"], model, Path(work), lambda inputs: verification.logits(session, inputs))
    return about


def _wait_for(marker: Path) -> None:
    while not marker.exists():
        time.sleep(_WAIT_SECONDS)
