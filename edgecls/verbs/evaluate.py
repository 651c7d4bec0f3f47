"""How often model files are right on labelled pictures."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecls import __version__, dataset, evaluation, process, runtimes
from edgecls import labels as label_files
from edgecls.dataset import Dataset
from edgecls.errors import UsageError, WorkFailed
from edgecls.evaluation import BEST, ClassShare, Difference, Predictions, Share
from edgecls.exporters import preprocessing
from edgecls.verbs.classifier import Classifier, classifiers, unsaid

#: A process of its own is worth its start for as many pictures.
_LEAST = 16


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How often one file is right.

    top5: None where it has no more than five classes. classes: of the pictures, the worst first.
    difference: from the first of several files. assumed: how outputs were taken for classes, in
    words, where nobody said it.
    """

    file: str
    precision: str
    data: str
    top1: Share
    top5: Share | None
    classes: tuple[ClassShare, ...]
    difference: Difference | None
    assumed: str | None


def evaluate(
    files: str | Path | Iterable[str | Path],
    *,
    data: str | Path,
    labels: str | Path | None = None,
    preprocess: preprocessing.Said = None,
    jobs: int | None = None,
    limit: int | None = None,
    on_picture: Callable[[int, int], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> list[Evaluation]:
    """Run `files` on labelled pictures, and compare all with the first.

    files: .tflite and .onnx, from `export` or from elsewhere.
    data: class folders, or a list of pictures and classes; see `dataset.read`.
    labels: of class folders and lists: the names of the model's outputs, as `labels.read` takes them,
    where its manifest does not have them; of a folder of pictures: their classes, see `dataset.read`.
    preprocess: see `preprocessing.parse`; for files whose manifest does not say it.
    jobs: processes that work side by side; one for each core by default.
    limit: take as many pictures, evenly spread over the data.
    on_picture: told how many are done; on_note what a user must be told, in words.

    What was computed is kept in the cache: a call that was interrupted goes on where it was. Needs
    neither Keras nor TensorFlow. Raises BadFile, UsageError, WorkFailed.
    """
    for option, value in (("--jobs", jobs), ("--limit", limit)):
        if value is not None and value < 1:
            raise UsageError(f"{option} must be at least 1, got {value}")
    subjects = classifiers(files, preprocess=preprocess)
    for subject in subjects:
        if subject.preprocess is None:
            raise unsaid(subject.path.name)
    pictures, names = _read(data, labels)
    for why in pictures.skipped:
        on_note(f"{why}, and is left out")
    known = [_targets(pictures, subject, names) for subject in subjects]
    chosen = np.arange(len(pictures.paths))
    if limit is not None and limit < len(chosen):
        chosen = np.linspace(0, len(chosen) - 1, limit).round().astype(int)
    work = _Work(subjects, [pictures.paths[number] for number in chosen], on_picture, on_note)
    best = work.run(jobs or _cores())
    readable = best[0, :, 0] >= 0
    if not readable.any():
        raise WorkFailed(f"none of the {len(chosen)} pictures of {str(data)!r} can be read")
    found, rights = [], []
    for subject, predicted, (targets, outputs, assumed) in zip(
        subjects, best[:, readable], known, strict=True
    ):
        wanted = targets[chosen][readable]
        right = predicted == wanted[:, None]
        rights.append(right[:, 0])
        few = subject.outputs <= BEST
        found.append(
            Evaluation(
                file=str(subject.path),
                precision=subject.precision,
                data=str(data),
                top1=Share.of(int(right[:, 0].sum()), len(right)),
                top5=None if few else Share.of(int(right.any(axis=1).sum()), len(right)),
                classes=tuple(evaluation.by_class(wanted, predicted[:, 0], outputs)),
                difference=evaluation.difference(subjects[0].path.name, rights[0], rights[-1])
                if found
                else None,
                assumed=assumed,
            )
        )
    return found


def _read(data, labels) -> tuple[Dataset, tuple[str, ...] | None]:
    """(labelled pictures, names of the model's outputs where the user says them)."""
    pictures = dataset.read(data)
    if pictures.labels is not None:
        return pictures, None if labels is None else label_files.read(labels)
    if labels is None:
        known = "class folders, a list with classes, or --labels"
        raise UsageError(f"nobody says what is on the pictures of {str(data)!r}; give {known}")
    return dataset.read(data, labels=labels), None


def _targets(pictures: Dataset, subject: Classifier, names) -> tuple[np.ndarray, list[str], str | None]:
    """(the output that is right for each picture, the outputs' names, what was assumed)."""
    names = names or (subject.manifest and subject.manifest.labels)
    if names is not None and len(names) == subject.outputs - 1:  # as often for ImageNet
        names = ("background", *names)
    label_files.check(names, subject.outputs)
    targets, assumed = evaluation.targets(pictures, subject.outputs, names)
    shown = [str(number) for number in range(subject.outputs)]
    for label, target in set(zip(pictures.labels, targets.tolist(), strict=True)):
        if pictures.classes:
            shown[target] = pictures.classes[label]
    if pictures.classes == dataset.imagenet_wnids():
        names = names or ["background"] * (subject.outputs - len(pictures.classes)) + [
            *label_files.imagenet()
        ]
    return targets, list(names or shown), assumed


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Work:
    """The best classes of each file for each picture, -1 where they are not known yet."""

    def __init__(self, subjects, paths, on_picture, on_note):
        self.subjects, self.paths, self.on_picture, self.on_note = subjects, paths, on_picture, on_note
        self.best = np.full((len(subjects), len(paths), BEST), -1)
        self.kept = [Predictions(_identity(subject)) for subject in subjects]
        self.done, self.keeps = 0, True
        self.stop, self.lock = threading.Event(), threading.Lock()

    def run(self, jobs: int) -> np.ndarray:
        for place, kept in enumerate(self.kept):
            for number, path in enumerate(self.paths):
                self._set(place, number, kept.get(path))
        missing = [
            (number, str(self.paths[number]), np.flatnonzero(self.best[:, number, 0] < 0).tolist())
            for number in np.flatnonzero((self.best[:, :, 0] < 0).any(axis=0)).tolist()
        ]
        self.done = len(self.paths) - len(missing)
        if self.done:
            self.on_note(f"{self._so_far} are done already, and kept in {self.kept[0].path.parent}")
        self.on_picture(self.done, len(self.paths))
        jobs = min(jobs, -(-len(missing) // _LEAST))
        if missing:
            with ThreadPoolExecutor(jobs) as pool:
                try:
                    lines = [pool.submit(self._line, missing[job::jobs]) for job in range(jobs)]
                    wait(lines, return_when=FIRST_EXCEPTION)
                    for line in lines:
                        if line.done():
                            line.result()
                except BaseException as error:
                    self.stop.set()
                    if isinstance(error, KeyboardInterrupt):
                        self.on_note(f"{self._so_far} are done; the same call goes on from there")
                    raise
        return self.best

    @property
    def _so_far(self) -> str:
        return f"{self.done} of {len(self.paths)} pictures"

    def _line(self, missing) -> None:
        """One child process and its share of the work."""
        job = {"files": [subject.job for subject in self.subjects], "pictures": missing}
        process.run("edgecls.evaluation.predictions:predict", job, stop=self.stop, on_event=self._on_event)

    def _on_event(self, event):
        with self.lock:
            for _, reason in event["unreadable"]:
                self.on_note(f"{reason}; it is left out")
            new = {}
            for number, place, found in event["found"]:
                self._set(place, number, found)
                new.setdefault(place, []).append((self.paths[number], found))
            for place, found in new.items():
                self._keep(self.kept[place], found)
            self.done += len({number for number, *_ in (*event["found"], *event["unreadable"])})
            self.on_picture(self.done, len(self.paths))

    def _keep(self, kept, found):
        if self.keeps:
            try:
                kept.add(found)
            except OSError as error:
                self.keeps = False
                self.on_note(
                    f"cannot write to {kept.path}: {error.strerror}; interrupted, the work begins anew"
                )

    def _set(self, place, number, found):
        if found is not None:
            self.best[place, number, : len(found)] = found


def _identity(subject: Classifier):
    """All that decides what the file says to a picture."""
    runtime = runtimes.for_file(subject.path)
    return {
        "sha256": subject.sha256,
        "ends": subject.job["ends"],
        "preprocess": subject.preprocess.to_json(),
        "runtime": [runtime.name, runtime.version],
        "edgecls": __version__,
    }
