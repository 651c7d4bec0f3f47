"""The work of one export: child processes that make files in a work folder, then publication.

            ┌─▶ .tflite ──────▶ quantize ──▶ check ──▶ publish
    make ───┤
            └─▶ join .onnx ──▶ quantize ──▶ check ──▶ publish

One child process makes what needs TensorFlow, one more goes along each line (see `line.finish`).
They run side by side where memory allows; a line waits for what it needs. Where a float file is
there already, given by the user or up to date, there is nothing to make.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecls import labels, process, reference
from edgecls.artifact import Artifact
from edgecls.errors import ChildFailed, WorkFailed
from edgecls.exporters import advice, making
from edgecls.exporters.recipe import Recipe, recipe_for
from edgecls.verbs import account, publication
from edgecls.verbs.job import Job

#: Memory of a conversion, bytes: what the libraries take, and so many times the weights.
_BASE, _TIMES = 1.0e9, {"tflite": 10, "onnx": 7}
#: Two conversions run side by side where they stay under this together, bytes.
_SIDE_BY_SIDE = 8e9
#: A child is stopped when it takes more than this share of the memory that was free.
_CAP = 0.8
#: A disk with less left is full, bytes.
_FULL = 1_000_000


@dataclass(frozen=True)
class Stage:
    """Where the export of `model` is: `what`, for one format or all; how far where it is known."""

    model: str
    format: str
    what: str
    done: int = 0
    total: int = 0


def make(
    job: Job,
    missing: Sequence[Recipe],
    ready: Mapping[Recipe, Artifact],
    fingerprints: Mapping[Recipe, str],
    on_stage: Callable[[Stage], None],
    on_note: Callable[[str], None],
) -> dict[Recipe, Artifact]:
    """Make what is `missing`, on the float files that are `ready`."""
    with _work_folder(job.folder) as work:
        return _Pipeline(job, missing, ready, fingerprints, on_stage, on_note, work).run()


@contextlib.contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """A folder inside the target, so that files move into place at once.

    Gone in the end, and the target too where it was not there before and nothing came of it.
    """
    import psutil

    for left in folder.glob(".making-*-*"):  # by a run that was killed
        _, pid, _ = left.name.split("-", 2)
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".making-{os.getpid()}-", dir=folder))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        with contextlib.suppress(OSError):  # the first that is not empty ends it
            for path in new:
                path.rmdir()


class _Pipeline:
    def __init__(self, job, missing, ready, fingerprints, on_stage, on_note, work):
        import psutil

        self.job, self.source, self.missing, self.ready = job, job.source, missing, ready
        self.fingerprints, self.on_stage, self.on_note, self.work = fingerprints, on_stage, on_note, work
        self.memory_cap = int(_CAP * psutil.virtual_memory().available)
        self.converting = [recipe.format for recipe in missing if recipe.precision == "fp32"]
        self.model = reference.identity(job.options(missing[0]))
        self.float_seconds = 0.0
        self.stop, self.lock = threading.Event(), threading.Lock()

    def run(self) -> dict[Recipe, Artifact]:
        formats = dict.fromkeys(recipe.format for recipe in self.missing)
        with ThreadPoolExecutor(1 + len(formats)) as pool:
            try:
                made = pool.submit(self._prepare)
                lines = [pool.submit(self._line, format, made) for format in formats]
                wait([made, *lines], return_when=FIRST_EXCEPTION)
                for work in (made, *lines):
                    if work.done():
                        work.result()
                return {recipe: found for line in lines for recipe, found in line.result().items()}
            except BaseException:
                self.stop.set()  # what is still running waits for what will not come
                raise

    def _child(self, function: str, shown: str, /, **job) -> process.Outcome:
        def on_event(event):
            if "trait" in event:
                self._advise(event["trait"])
                return
            what = event.get("stage", "calibrate")
            self.on_stage(Stage(self.source.name, shown, what, event.get("done", 0), event.get("total", 0)))

        options = {"memory_cap": self.memory_cap, "stop": self.stop, "verbose": self.job.verbose}
        try:
            return process.run(function, job, **options, on_event=on_event)
        except ChildFailed as error:  # of a full disk, some libraries say the strangest things
            if shutil.disk_usage(self.work).free > _FULL:
                raise
            raise WorkFailed(f"no space left for {str(self.job.folder)!r}; make room on the disk") from error

    def _prepare(self) -> dict[str, Any]:
        """The model's facts and the pictures; from a row or a Keras file also the frozen model and,
        if it is wanted, the float .tflite."""
        source, plan = self.source, self.job.plan.to_json()
        if self.converting and source.kind in ("row", "keras"):
            row = None
            if source.spec:
                row = {
                    "name": source.spec.key,
                    "weights": str(source.path or "random"),
                    "classes": source.classes,
                    "input_size": source.input_size,
                    "seed": source.seed,
                }
            outcome = self._child(
                "edgecls.exporters.making:make",
                "tflite" if "tflite" in self.converting else "onnx",
                row=row,
                file=None if row else source.file,
                plan=plan,
                model=self.model,
                labels=source.labels,
                lowerings=self.job.lowerings,
                work=str(self.work),
                tflite=str(self._float("tflite")) if "tflite" in self.converting else None,
                onnx="onnx" in self.converting,
            )
            self.float_seconds = outcome.seconds
            return outcome.result
        if self.converting:
            (format,) = self.converting
            adopted = self._child(
                f"edgecls.exporters.adoption:adopt_{format}",
                format,
                source=str(source.path),
                target=str(self._float(format)),
                input_size=source.input_size,
            )
            self.float_seconds, facts = adopted.seconds, adopted.result
            labels.fit(source.labels, facts["classes"])  # raises, before the long work
        else:
            fp32 = next(found for recipe, found in self.ready.items() if recipe.precision == "fp32")
            known = fp32.manifest
            self._advise(known.model.trait)
            facts = dataclasses.asdict(known.model) | {
                "channels": known.input.shape[3 if known.layout == "NHWC" else 1],
                "layout": known.layout,
                "lowerings": known.lowerings,
            }
        pictures = self._child(
            "edgecls.verbs.line:prepare",
            "",
            plan=plan,
            size=facts["input_size"][0],
            channels=facts["channels"],
            layout=facts["layout"],
            model=self.model,
            source=str(source.path if self.converting else fp32.path),
            kept=str(self.job.reference),
            work=str(self.work),
        )
        return {"model": facts, "pictures": pictures.result}

    def _line(self, format: str, made: Future) -> dict[Recipe, Artifact]:
        """All files of one format."""
        if not self._side_by_side():
            made.result()
        recipes = [recipe for recipe in self.missing if recipe.format == format]
        join = format == "onnx" and format in self.converting and self.source.kind in ("row", "keras")
        paths = {
            recipe: self._float(format) if recipe.precision == "fp32" else self.work / f"{recipe.precision}.{format}"
            for recipe in recipes
        }
        outcome = self._child(
            "edgecls.verbs.line:finish",
            format,
            format=format,
            work=str(self.work),
            source=str(self._float(format)),
            join=join,
            files=[
                {
                    "path": str(path),
                    "precision": recipe.precision,
                    "io": self.job.io_of(recipe),
                    "method": self.job.plan.method,
                    "per_tensor": self.job.per_tensor,
                    "layers": {},
                    "lowerings": self.job.lowerings_of(recipe, int8=True),
                    "tolerance": dataclasses.asdict(recipe.tolerance_of(per_tensor=self.job.per_tensor)),
                }
                for recipe, path in paths.items()
            ],
            input_range=self.source.preprocess and self.source.preprocess.value_range,
            preprocess=self.source.preprocess and self.source.preprocess.to_json(),
        )
        facts, counts = made.result(), outcome.result[0]
        # Of a model that came as a graph, the float file's own counts are all there is.
        model = {"folded_params": counts["params"], "macs": counts["macs"], "lowerings": ()} | facts["model"]
        facts = facts | {"model": model}
        self._publish_reference()
        made_files = {}
        for recipe, result in zip(recipes, outcome.result, strict=True):
            told = account.manifest(
                self.job,
                recipe,
                result,
                facts,
                fingerprint=self.fingerprints[recipe],
                float_seconds=self.float_seconds,
            )
            made_files[recipe] = publication.publish(paths[recipe], self.job.target(recipe), told)
        return made_files

    def _side_by_side(self) -> bool:
        spec, path = self.source.spec, self.source.path
        weights = 4 * spec.params if spec else sum(f.stat().st_size for f in [path, *path.rglob("*")] if f.is_file())
        together = sum(_BASE + times * weights for times in _TIMES.values())
        return "tflite" not in self.converting or together < min(_SIDE_BY_SIDE, self.memory_cap)

    def _float(self, format: str) -> Path:
        """The float file of a format: made in the work folder, or there already."""
        fp32 = recipe_for(format, "fp32")
        return self.ready[fp32].path if fp32 in self.ready else self.work / f"fp32.{format}"

    def _publish_reference(self) -> None:
        copy = self.work / self.job.reference.name
        with self.lock:
            shutil.copyfile(self.work / making.REFERENCE, copy)
            os.replace(copy, self.job.reference)

    def _advise(self, trait: str | None) -> None:
        """Before anything is quantized."""
        for recipe in self.missing:
            if likely := advice.sentence(trait, recipe, per_tensor=self.job.per_tensor):
                self.on_note(likely)
