"""Compare model files with their float models, or with each other."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecls import artifact, process, reference, runtimes, verification
from edgecls.artifact import Agreement
from edgecls.errors import BadFile, UsageError
from edgecls.exporters import calibration as calibrations
from edgecls.exporters import preprocessing
from edgecls.exporters.calibration import Plan
from edgecls.reference import Reference
from edgecls.spec import Preprocess
from edgecls.verbs.classifier import Classifier, classifier, classifiers, unsaid

#: Pictures that are taken of a folder or an array.
PICTURES = 256


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What came of one file. against: the file that has the float model's logits, or gives them.

    next_step: what to do about a file that is not OK.
    """

    file: str
    precision: str
    against: str
    agreement: Agreement
    next_step: str | None


def verify(
    files: str | Path | Iterable[str | Path],
    *,
    pictures: str | Path | None = None,
    against: str | Path | None = None,
    preprocess: preprocessing.Said = None,
    on_picture: Callable[[str, int, int], None] = lambda file, done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> list[Verification]:
    """Compare each of `files` with its float model, or with the file `against`.

    files: .tflite and .onnx, from `export` or from elsewhere. What their float model says to held-out
    pictures stands in the reference beside them, which `export` left there.
    pictures: others to compare on: a folder, a list, a .npy or .npz file, "synthetic"; up to 256 are
    taken. The float model is the float file beside then.
    against: a file of any format and precision. Needed for files from elsewhere, which are compared
    on synthetic pictures where no others are given.
    preprocess: see `preprocessing.parse`; for files whose manifest does not say it.
    on_picture: told which file is how far; on_note what a user must be told, in words.

    Needs neither Keras nor TensorFlow. Raises BadFile, UsageError, WorkFailed. A file that is BROKEN
    is no error: see its `agreement`.
    """
    files = [Path(file) for file in ([files] if isinstance(files, (str, Path)) else files)]
    others = [Path(against)] if against is not None and files else []
    known = {one.path: one for one in classifiers([*files, *others], preprocess=preprocess)}
    subjects, other = [known[file] for file in dict.fromkeys(files)], known[others[0]] if others else None
    groups: dict[str, list[tuple[Classifier, Right]]] = {}
    for subject in subjects:
        right = comparison(subject, other, pictures, preprocessing.parse(preprocess))
        groups.setdefault(json.dumps(right.job), []).append((subject, right))
    found = {}

    def on_event(event):
        if "note" in event:
            on_note(event["note"])
        else:
            on_picture(event["file"], event["done"], event["total"])

    for group in groups.values():
        job = {"files": [right.file(subject) for subject, right in group], **group[0][1].job}
        results = process.run("edgecls.verbs.verify:compare", job, on_event=on_event).result
        for (subject, right), result in zip(group, results, strict=True):
            found[subject.path] = _verification(subject, right, artifact.decode(Agreement, result))
    return [found[subject.path] for subject in subjects]


def _verification(subject, right, agreement):
    manifest = subject.manifest
    calibration = manifest.calibration if manifest else None
    per_tensor = bool(manifest and manifest.options.get("per_tensor"))
    return Verification(
        file=str(subject.path),
        precision=subject.precision,
        against=right.name,
        agreement=agreement,
        next_step=verification.next_step(agreement, subject.precision, calibration, per_tensor=per_tensor),
    )


@dataclass(frozen=True, kw_only=True)
class Right:
    """What a file is compared with: the reference `known`, or what `model` gives on the pictures of
    that or of `plan`."""

    known: Path | None = None
    model: Classifier | None = None
    plan: Plan | None = None

    @property
    def name(self) -> str:
        return self.model.path.name if self.model else self.known.name

    @property
    def job(self) -> dict[str, Any]:
        return {
            "known": self.known and str(self.known),
            "model": self.model and self.model.job,
            "plan": self.plan and self.plan.to_json(),
            "size": self.model and self.model.size,
            "channels": self.model and self.model.channels,
        }

    def file(self, subject: Classifier) -> dict[str, Any]:
        """The job of `subject`, with the tolerance of the coarser of both."""
        bounds = [dataclasses.asdict(one.tolerance) for one in (subject, self.model) if one]
        widest = {
            name: (max if name == "ok_kl" else min)(bound[name] for bound in bounds) for name in bounds[0]
        }
        return subject.job | {"tolerance": widest}


def comparison(subject: Classifier, other: Classifier | None, pictures, said: Preprocess | None) -> Right:
    """Raises BadFile, UsageError where there is nothing to compare `subject` with."""
    name, manifest = subject.path.name, subject.manifest
    if other is None and manifest is None:
        raise UsageError(f"{name} has no manifest; name the file to compare it with, --against FILE")
    if other is None and pictures is None:
        return Right(known=_reference(subject))
    model = other or classifier(float_beside(subject), said)
    for what in ("size", "channels", "outputs"):
        if getattr(subject, what) != getattr(model, what):
            ours, theirs = getattr(subject, what), getattr(model, what)
            raise UsageError(f"{name} has {what} {ours}, {model.path.name} {theirs}")
    beside = [one.path.with_name(one.manifest.reference) for one in (subject, model) if one.manifest]
    if pictures is None and (known := next((path for path in beside if path.is_file()), None)):
        return Right(model=model, known=known)  # for its pictures
    source, samples = (calibrations.SYNTHETIC, None) if pictures is None else (pictures, PICTURES)
    plan = calibrations.plan(source, preprocess=model.preprocess, samples=samples)
    calibrations.check_shape(plan, model.size, model.channels)
    return Right(model=model, plan=plan)


def _reference(subject: Classifier) -> Path:
    """The reference beside an artifact."""
    path = subject.path.with_name(subject.manifest.reference)
    other = "give pictures with --pictures, or export it again"
    try:
        model = reference.read(path).model
    except BadFile as error:
        raise BadFile(f"{error}; it stood beside {subject.path.name}: {other}") from error
    if model != reference.identity(subject.manifest.options):
        raise BadFile(f"{path.name} is of other weights than {subject.path.name}; {other}")
    return path


def float_beside(subject: Classifier) -> Path:
    """A float file of the same weights, of the same format where there is one."""
    wanted = reference.identity(subject.manifest.options)
    for suffix in sorted(runtimes.SUFFIXES, key=lambda suffix: suffix != subject.path.suffix):
        for beside in sorted(subject.path.parent.glob(f"*{suffix}.json")):
            try:
                manifest = artifact.read_manifest(beside)
            except BadFile:  # of another file than is looked for
                continue
            path = beside.with_name(manifest.file)
            same = manifest.precision == "fp32" and reference.identity(manifest.options) == wanted
            if same and path.is_file() and not path.samefile(subject.path):
                return path
    name = subject.path.name
    raise UsageError(f"no float file of the weights of {name} beside it; name one, --against FILE")


def compare(
    files: list[dict[str, Any]],
    known: str | None,
    model: dict[str, Any] | None,
    plan: dict[str, Any] | None,
    size: int | None,
    channels: int | None,
    emit,
) -> list[dict[str, Any]]:
    """Child process: the Agreement of each of `files`, as `verification.check` takes them.

    known: a reference. model: a file that computes what is right, instead, on the pictures of that
    reference or of `plan`, which are of `size` and `channels`.
    """

    def on_picture(file, done, total):
        emit({"file": file, "done": done, "total": total})

    right, soft = load(known, plan, size, channels, emit), None
    _check_preprocess(right, [*files, *([model] if model else [])])
    if model:
        logits, soft = verification.answers(model, right.pictures, on_picture)
        right = dataclasses.replace(right, logits=logits)
    return [dataclasses.asdict(verification.compare(file, right, soft, on_picture)) for file in files]


def load(
    known: str | None, plan: dict[str, Any] | None, size: int | None, channels: int | None, emit
) -> Reference:
    """What `compare` compares on; there are no logits for a `plan`."""
    if not plan:
        return reference.read(Path(known))
    plan = Plan.from_json(plan)
    pictures, skipped = calibrations.load(plan, plan.chosen, size, channels)
    for name in skipped:
        emit({"note": f"{name} cannot be read and is left out"})
    words = f"{len(pictures)} pictures of {plan.source}"
    return Reference(pictures=pictures, logits=None, words=words, model={})


def _check_preprocess(right, files):
    """Raise UsageError where the pictures cannot become the input of each of `files`."""
    known = [file["preprocess"] for file in files]
    if right.pictures.dtype != np.uint8:
        if any(one != known[0] for one in known):
            which = "files of other preprocessing cannot share"
            raise UsageError(f"{right.words} are floats, which {which}; give pixels")
    elif None in known:
        raise unsaid(Path(files[known.index(None)]["path"]).name)
