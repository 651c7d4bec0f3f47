"""The fastest file within a limit of what it may lose."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecls import artifact, dataset, inspection, pretrained, process, profiling, reference, tuning
from edgecls.artifact import Agreement, Artifact, TensorInfo
from edgecls.errors import BadFile, UsageError, WorkFailed
from edgecls.exporters import calibration as calibrations
from edgecls.exporters import preprocessing
from edgecls.exporters.lowerings import LOWERINGS
from edgecls.exporters.recipe import recipe_for
from edgecls.profiling import Settings
from edgecls.tuning import Choice, Limit, Trial
from edgecls.verbs import publication
from edgecls.verbs.evaluate import evaluate
from edgecls.verbs.export import export
from edgecls.verbs.inspect import inspect

#: What layers can be kept in: no CPU has a fast int16 in ONNX Runtime.
_KINDS = {"tflite": ("float", "int16"), "onnx": ("float",)}


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What was tried in one format.

    trials: in the order in which they were tried, the float file first. front: see `tuning.front`. chosen: the
    fastest within the limit, and `file` that it became; None where nothing is, or not within the budget.
    judged_on: what the drop is of, in words. known: how many trials were there from an earlier call.
    """

    format: str
    trials: tuple[Trial, ...]
    front: tuple[Trial, ...]
    chosen: Trial | None
    file: str | None
    judged_on: str
    known: int


def tune(
    target: str | Path,
    *,
    min_sqnr: float | None = None,
    max_drop: float | None = None,
    budget_ms: float | None = None,
    data: str | Path | None = None,
    labels: str | Path | None = None,
    formats: str | Iterable[str] | None = None,
    weights: str | Path = pretrained.AUTO,
    calibration: str | Path = calibrations.SYNTHETIC,
    samples: int | None = None,
    preprocess: preprocessing.Said = None,
    io: str | None = None,
    seed: int = 0,
    out: str | Path = artifact.FOLDER,
    settings: Settings | None = None,
    on_trial: Callable[[str, str, Trial | None], None] = lambda format, words, trial: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> list[Tuning]:
    """Search over calibration methods, scales for weights, and layers kept in float or int16.

    target, formats, weights, calibration, samples, preprocess, io, seed, out: see `export`, which makes the
    float file and the int8 file where they are not up to date.
    min_sqnr: dB that logits must have at least; max_drop: share of top-1 that may be lost; one of them is needed.
    budget_ms: what one inference may take at most. data: labelled pictures to measure top-1 on, see `evaluate`;
    without, a drop is the share of held-out pictures whose best class is another. labels: see `evaluate`.
    settings: how files are measured. on_trial: told format and choice before, and the trial after.

    Layers are tried in the order in which `inspect` blames them. What was tried stands in
    `<out>/<name>/<name>-trials.jsonl`, and is not tried again; what is chosen becomes
    `<name>-tuned.<format>`, unless it is the float or the int8 file that is there.
    Raises as `export` does.
    """
    if min_sqnr is None and max_drop is None:
        raise UsageError("say what may be lost: --min-sqnr DB or --max-drop SHARE")
    if max_drop is not None and not 0 <= max_drop < 1:
        raise UsageError(f"--max-drop must be from 0% to 100%, got {100 * max_drop:g}%")
    if budget_ms is not None and budget_ms <= 0:
        raise UsageError(f"--budget-ms must be more than 0, got {budget_ms:g}")
    if data is not None:
        dataset.read(data)  # raises, before an hour of work
    common = {"weights": weights, "calibration": calibration, "samples": samples, "seed": seed}
    made = export(
        target, formats=formats, precisions="int8", preprocess=preprocess, io=io, out=out, on_note=on_note, **common
    )
    limit, found = Limit(min_sqnr=min_sqnr, max_drop=max_drop), []
    for format in dict.fromkeys(one.manifest.format for one in made):
        fp32, int8 = (
            next(one for one in made if (one.manifest.format, one.manifest.precision) == (format, precision))
            for precision in ("fp32", "int8")
        )
        plan = calibrations.plan(calibration, preprocess=int8.manifest.preprocess, samples=samples, seed=seed)
        with tempfile.TemporaryDirectory(prefix=".tuning-", dir=int8.path.parent) as work:
            bench = _Bench(fp32, int8, plan, Path(work), data, labels, settings or Settings(), on_trial, on_note)
            found.append(_tune(bench, limit, budget_ms))
    return found


def _tune(bench: _Bench, limit: Limit, budget_ms: float | None) -> Tuning:
    format = bench.int8.manifest.format
    trials = [bench.run(None)]

    def run(choice):
        trials.append(bench.run(choice))
        return trials[-1]

    methods = (calibrations.METHOD, *(one for one in calibrations.METHODS if one != calibrations.METHOD))
    tuning.search(methods, _KINDS[format], bench.suspects, limit, run)
    trials = list(dict.fromkeys(trials))
    chosen = tuning.fastest(trials, limit)
    if chosen and budget_ms is not None and chosen.ms > budget_ms:
        chosen = None
    return Tuning(
        format=format,
        trials=tuple(trials),
        front=tuple(tuning.front(trials)),
        chosen=chosen,
        file=chosen and str(bench.publish(chosen)),
        judged_on=bench.judged_on,
        known=bench.known_count,
    )


class _Bench:
    """Makes and measures the files of choices, in a work folder that is gone in the end."""

    def __init__(self, fp32: Artifact, int8: Artifact, plan, work, data, labels, settings, on_trial, on_note):
        self.fp32, self.int8, self.plan, self.work = fp32, int8, plan, work
        self.data, self.labels, self.settings = data, labels, settings
        self.on_trial, self.on_note = on_trial, on_note
        stem = int8.path.stem.removesuffix("-int8")
        self.store = int8.path.with_name(f"{stem}-trials.jsonl")
        self.tuned = int8.path.with_name(f"{stem}-tuned{int8.path.suffix}")
        self.judged_on = f"labelled pictures of {data}" if data else int8.manifest.agreement.pictures
        self.known = dict(_known(self.store))
        self.known_count, self.prepared = 0, False
        self.common = [int8.manifest.fingerprint, dataclasses.asdict(settings), data and _content(data, labels)]

    def run(self, choice: Choice | None) -> Trial:
        words = choice.words if choice else "float"
        self.on_trial(self.int8.manifest.format, words, None)
        key = self._key(choice)
        trial = self.known.get(key)
        if trial is None:
            trial = self._measure(choice)
            with open(self.store, "a", encoding="utf-8") as file:  # a line for itself, whatever was cut off before
                file.write("\n" * bool(file.tell()) + json.dumps({"key": key, "trial": dataclasses.asdict(trial)}))
            self.known[key] = trial
        else:
            self.known_count += 1
        self.on_trial(self.int8.manifest.format, words, trial)
        return trial

    def suspects(self) -> list[tuple[str, ...]]:
        """By `inspect`; without the ends where they have to be integers, which no layer in float can read."""
        found = inspect(self.int8.path, against=self.fp32.path)
        if self.int8.manifest.input.dtype == "float32":
            return inspection.suspects(found.layers)
        picture, end = found.layers[0].tensor, found.layers[-1].counterpart
        ends = {end, *(one.counterpart for one in found.layers if picture in one.sources)}
        all_sets = inspection.suspects(found.layers)
        free = [names for names in all_sets if not ends & set(names)]
        if len(free) < len(all_sets):
            dtype = self.int8.manifest.input.dtype
            self.on_note(
                f"{self.tuned.name}: the first and the last layer stay int8, as its ends are {dtype}; "
                "--io float32 lets them be float"
            )
        return free

    def publish(self, trial: Trial) -> Path:
        if trial.choice is None:
            return self.fp32.path
        if trial.choice == Choice(method=calibrations.METHOD):
            return self.int8.path
        with contextlib.suppress(BadFile):  # none, or another
            if artifact.load(self.tuned).manifest.fingerprint == self._key(trial.choice):
                return self.tuned
        made = self._make(trial.choice)
        manifest = dataclasses.replace(made.manifest, file=self.tuned.name)
        return artifact.publish(made.path, self.tuned, manifest).path

    def _key(self, choice: Choice | None) -> str:
        record = [*self.common, choice and dataclasses.asdict(choice)]
        return hashlib.sha256(json.dumps(record).encode()).hexdigest()

    def _measure(self, choice: Choice | None) -> Trial:
        nothing = {"sqnr_db": None, "top1": None, "drop": None, "ms": None, "bytes": None}
        try:
            one = self.fp32 if choice is None else self._make(choice)
            profile = profiling.profile_file(one.path, profiling.describe(one.path), self.settings, run="tune")
            if profile.error:
                raise WorkFailed(profile.error)
            agreement = one.manifest.agreement
            drop = 1 - agreement.top1
            if self.data is not None:
                right, found = evaluate([self.fp32.path, one.path], data=self.data, labels=self.labels) if choice else (None, None)
                drop = right.top1.share - found.top1.share if choice else 0.0
            return Trial(
                choice=choice,
                sqnr_db=agreement.sqnr_db,
                top1=agreement.top1,
                drop=drop,
                ms=min(profile.timing.samples_ms),
                bytes=one.manifest.bytes,
            )
        except WorkFailed as error:  # a combination that a library refuses
            return Trial(choice=choice, error=str(error), **nothing)

    def _make(self, choice: Choice) -> Artifact:
        if choice == Choice(method=calibrations.METHOD):
            return self.int8
        manifest = self.int8.manifest
        preprocess = manifest.preprocess
        if not self.prepared:
            self._prepare()
        path, target = self.work / f"trial.{manifest.format}", self.work / "trial" / self.int8.path.name
        target.parent.mkdir(exist_ok=True)
        recipe = recipe_for(manifest.format, "int8")
        file = {
            "path": str(path),
            "precision": "int8",
            "io": manifest.options["io"],
            "method": choice.method,
            "per_tensor": choice.per_tensor,
            "layers": dict.fromkeys(choice.layers, choice.kind),
            "lowerings": [name for name in manifest.lowerings if LOWERINGS[name].int8],
            "tolerance": dataclasses.asdict(recipe.tolerance_of(per_tensor=choice.per_tensor)),
        }
        (found,) = self._child(
            "edgecls.verbs.line:finish",
            format=manifest.format,
            source=str(self.fp32.path),
            join=False,
            files=[file],
            input_range=preprocess and preprocess.value_range,
            preprocess=preprocess and preprocess.to_json(),
        )
        changed = {"calibration_method": choice.method, "per_tensor": choice.per_tensor, "layers": file["layers"]}
        kept = [f"keeps {len(choice.layers)} layers in {choice.kind}"] if choice.layers else []
        made = dataclasses.replace(
            manifest,
            file=target.name,
            graph_params=found["params"],
            graph_macs=found["macs"],
            input=artifact.decode(TensorInfo, found["input"]),
            output=artifact.decode(TensorInfo, found["output"]),
            calibration=dataclasses.replace(manifest.calibration, method=choice.method),
            agreement=artifact.decode(Agreement, found["agreement"]),
            float_ops=tuple(found["float_ops"]),
            notes=tuple(f"{self.tuned.name} {note}" for note in [*kept, *found["notes"]]),
            options={**manifest.options, **changed},
            fingerprint=self._key(choice),
            seconds=round(found["seconds"], 3),
        )
        return publication.publish(path, target, made)

    def _prepare(self):
        known = self.int8.manifest
        self._child(
            "edgecls.verbs.line:prepare",
            plan=self.plan.to_json(),
            size=known.model.input_size[0],
            channels=known.input.shape[3 if known.layout == "NHWC" else 1],
            layout=known.layout,
            model=reference.identity(known.options),
            source=str(self.fp32.path),
            kept=str(self.int8.path.with_name(known.reference)),
        )
        self.prepared = True

    def _child(self, function: str, **job) -> Any:
        return process.run(function, {"work": str(self.work), **job}, on_event=lambda event: None).result


def _known(store: Path) -> Iterator[tuple[str, Trial]]:
    """Trials of earlier calls; a line that was cut off, or of another version, is as if it were not there."""
    for line in store.read_text(encoding="utf-8").splitlines() if store.is_file() else ():
        with contextlib.suppress(ValueError, TypeError, KeyError):
            record = json.loads(line)
            yield record["key"], artifact.decode(Trial, record["trial"])


def _content(data, labels) -> list[Any]:
    """What tells these labelled pictures from others: their paths, sizes, times and classes."""
    found = dataset.read(data)
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in map(Path, found.paths)]
    return [files, str(labels)]
