"""Where the error of a quantized file arises: each of its layers against the float model's."""

from __future__ import annotations

import dataclasses
import importlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecls import artifact, images, inspection, process
from edgecls.artifact import TensorInfo
from edgecls.errors import EdgeclsError, UsageError
from edgecls.exporters import calibration as calibrations
from edgecls.exporters import cutting, preprocessing
from edgecls.exporters.calibration import Plan
from edgecls.exporters.lowerings import LOWERINGS
from edgecls.graph import read
from edgecls.inspection import LayerError
from edgecls.spec import Preprocess
from edgecls.verbs import verify
from edgecls.verbs.classifier import Classifier, classifier, classifiers
from edgecls.verification.running import oriented

#: Pictures that layers are run on, unless told otherwise: each takes the time of some fifty inferences.
PICTURES = 8


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """layers: in the order of the graph, the picture first. pictures: which ones, in words, `samples` of them.

    finding: what is wrong with the worst layer, in words, fault: the tensor whose rounding makes it so, and
    cure: what to do about it; None where nothing is lost. notes: what a user must be told.
    """

    file: str
    against: str
    precision: str
    pictures: str
    samples: int
    layers: tuple[LayerError, ...]
    finding: str | None
    fault: str | None
    cure: str | None
    notes: tuple[str, ...]

    @property
    def worst(self) -> list[LayerError]:
        """Layers that the float model has too, largest error of their own first."""
        return inspection.worst(self.layers)


def inspect(
    file: str | Path,
    *,
    pictures: str | Path | None = None,
    samples: int = PICTURES,
    against: str | Path | None = None,
    preprocess: preprocessing.Said = None,
    on_picture: Callable[[int, int], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Inspection:
    """Compare each layer of a quantized .tflite or .onnx file with the same layer of its float model.

    against: the float file that it was made of; by default the one that `export` left beside it.
    pictures: as for `verify`; `samples` of them are taken. preprocess: see `preprocessing.parse`; for files
    whose manifest does not say it.

    What was equalised before it was quantized (`export` with per_tensor) is compared with that file equalised
    in the same way, for which the pictures of its calibration are needed.

    Needs neither Keras nor TensorFlow. Raises BadFile, UsageError, WorkFailed.
    """
    if samples < 1:
        raise UsageError(f"--samples must be at least 1, got {samples}")
    (subject,) = classifiers(file, preprocess=preprocess)
    manifest, name = subject.manifest, subject.path.name
    if subject.precision in ("fp32", "fp64"):
        raise UsageError(f"{name} is not quantized; name an int8 file, or another that is")
    if against is None and manifest is None:
        raise UsageError(f"{name} has no manifest; name the float file that it was made of, --against FILE")
    model = classifier(Path(against) if against is not None else verify.float_beside(subject), preprocessing.parse(preprocess))
    if model.path.suffix != subject.path.suffix:
        raise UsageError(
            f"{name} can be compared with a float {subject.path.suffix} file alone, not with {model.path.name}; "
            "export one, or name it, --against FILE"
        )
    if model.precision != "fp32":
        raise UsageError(f"{model.path.name} is {model.precision}; name the float file, --against FILE")
    equalised = bool(manifest and manifest.options.get("per_tensor"))
    right = verify.comparison(subject, model, pictures, preprocessing.parse(preprocess))
    job = {
        "subject": subject.job,
        "right": right.job,
        "lowerings": [name for name in (manifest.lowerings if manifest else ()) if LOWERINGS[name].int8],
        "equalised_on": _calibration(subject).to_json() if equalised else None,
        "samples": samples,
    }

    def on_event(event):
        if "note" in event:
            on_note(event["note"])
        else:
            on_picture(event["done"], event["total"])

    found = process.run("edgecls.verbs.inspect:examine", job, on_event=on_event).result
    layers = tuple(artifact.decode(LayerError, one) for one in found.pop("layers"))
    missing = [one.layer for one in layers if not one.counterpart]
    notes = [f"{len(missing)} of {len(layers)} layers are not in {model.path.name}: {', '.join(missing[:3])}"] if missing else []
    if equalised:
        notes.append(f"layers are those of {model.path.name} after equalisation, as {name} has them")
    finding, fault, cure = inspection.finding(layers)
    return Inspection(
        file=str(subject.path),
        against=model.path.name,
        precision=subject.precision,
        layers=layers,
        finding=finding,
        fault=fault,
        cure=cure,
        notes=tuple(notes),
        **found,
    )


def _calibration(subject: Classifier) -> Plan:
    """The pictures that a file's float model was equalised with, which decide its channels' factors."""
    info = subject.manifest.calibration
    unread = sum(os.path.exists(one) for one in info.skipped)  # the others were no pictures, and not counted
    needed = f"{subject.path.name} was equalised with pictures of {info.source}, which inspect needs"
    try:
        plan = calibrations.plan(info.source, preprocess=subject.preprocess, samples=info.count + unread, seed=info.seed)
    except EdgeclsError as error:
        raise UsageError(f"{needed}: {error}") from error
    if plan.digest != info.digest:
        raise UsageError(f"{needed}: there are others now; export it again")
    return plan


def examine(
    subject: dict[str, Any],
    right: dict[str, Any],
    lowerings: list[str],
    equalised_on: dict[str, Any] | None,
    samples: int,
    emit,
) -> dict[str, Any]:
    """Child process: "layers", "pictures" and "samples" of an Inspection, as JSON.

    subject: as `verification.check` takes it; right: see `verify.compare`. lowerings: that the float file
    went through before it was quantized; equalised_on: pictures that it was equalised with then, as a Plan.
    """
    path, model_path = Path(subject["path"]), Path(right["model"]["path"])
    held = verify.load(right["known"], right["plan"], right["size"], right["channels"], emit)
    taken = held.pictures[np.linspace(0, len(held.pictures) - 1, min(samples, len(held.pictures))).round().astype(int)]
    exporter = importlib.import_module(f"edgecls.exporters.{path.suffix[1:]}")
    record = right["model"]["preprocess"] and Preprocess.from_json(right["model"]["preprocess"])
    shape = read(model_path).inputs[0].shape

    def inputs_of(pictures):
        return oriented(images.inputs(pictures, record and record.fit(*pictures.shape[2:]))[:, None], shape)

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        lowered, equal = work / f"lowered{path.suffix}", work / f"equalised{path.suffix}"
        if lowerings and exporter.lower(model_path, lowered, lowerings):
            model_path = lowered
        if equalised_on:
            plan = Plan.from_json(equalised_on)
            pictures, _ = calibrations.load(plan, plan.chosen, right["size"], right["channels"])
            exporter.equalise(str(model_path), str(equal), inputs_of(pictures))
            model_path = equal
        graph, model = read(path), read(model_path)
        matches = inspection.match(graph, model, {name: TensorInfo(**end) for name, end in subject["ends"].items()})
        twins = [one for one in matches if one.twin]
        pieces = [
            (target := work / f"{what}{path.suffix}", cutting.cut(source, target, dict.fromkeys(names)))
            for what, source, names in (
                ("alone", path, [one.tensor.name for one in twins]),
                ("fed", model_path, [one.twin.name for one in twins]),
            )
        ]
        inputs = inputs_of(taken)
        layers = inspection.errors(
            graph,
            model,
            matches,
            pieces,
            inputs,
            lambda done: emit({"done": done, "total": len(inputs)}),
        )
    return {
        "layers": [dataclasses.asdict(one) for one in layers],
        "pictures": held.words,
        "samples": len(taken),
    }
