"""From pictures in class folders to a trained Keras model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from edgecls import artifact, builder, dataset, pretrained, process, registry
from edgecls.dataset import Dataset
from edgecls.errors import DownloadFailed, UnknownName, UsageError, WorkFailed
from edgecls.exporters import source as sources
from edgecls.exporters.source import Source
from edgecls.finetuning import record
from edgecls.finetuning.record import Augment, Epoch, Plan, Training

#: Folders that may hold them.
_VALIDATION_FOLDERS = ("val", "validation", "valid")
#: Names that a note shows.
_SHOWN = 5
#: What may have changed since, where it is not an option's name.
_CHANGED = {"digest": "pictures", "preprocess": "--input-size", "model": "architecture"}
#: Disk space that training takes: the best weights twice, two backups with Adam's moments, the result.
_BYTES_PER_PARAMETER = 40


@dataclass(frozen=True)
class Stage:
    """What is being done, and how far it is where that is known."""

    what: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Finetuned:
    """The Keras model that was written, and the record that is in it."""

    path: Path
    training: Training

def finetune(
    name: str,
    *,
    data: str | Path,
    out: str | Path | None = None,
    weights: str | Path = pretrained.AUTO,
    input_size: int | None = None,
    augment: str = "auto",
    validation: float = record.VALIDATION,
    head_epochs: int | None = None,
    epochs: int | None = None,
    batch_size: int = record.BATCH_SIZE,
    learning_rate: float | None = None,
    seed: int = 0,
    force: bool = False,
    verbose: bool = False,
    on_stage: Callable[[Stage], None] = lambda stage: None,
    on_epoch: Callable[[Epoch, bool], None] = lambda epoch, best: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Finetuned:
    """Train the row `name` on the pictures in `data` and write it to `out`, which `export` takes as it is.

    data: see `dataset.read`; a folder of each class. It may hold them twice, in train/ and in val/,
        validation/ or valid/: else `validation` is the share of each class that is not trained on.
    out: a .keras file; `<data>.keras` by default. Beside it `<out>.training/` holds what a repeated
        call needs to go on after a kill; it is gone when all is done.
    weights: as in `builder.build`; their head is left out, whatever its classes are.
    augment: see `record.Augment`.
    head_epochs: of the head alone, on features that are computed once; 0 without trained weights.
    epochs: of the whole network; both end early where validation gets no better.
    learning_rate: the highest of the whole network's.
    force: take the place of an `out` that is there, and begin anew.
    on_epoch is given every epoch, and whether none before was better.

    KeyboardInterrupt writes the best epoch so far to `out` before it goes on.
    Raises UnknownName, UsageError, BadFile, WeightsMismatch, WorkFailed.
    """
    spec = registry.get(name)
    source = sources.resolve(name, weights=weights, input_size=input_size, seed=seed)
    out = Path(out) if out is not None else Path(f"{Path(data).resolve().name}.keras")
    numbers = {"head_epochs": head_epochs, "epochs": epochs, "batch_size": batch_size}
    _check(numbers, learning_rate=learning_rate, validation=validation, augment=augment, out=out)
    paths, labels, classes, held = _pictures(data, validation, seed, on_note)
    builder.check_sizes(spec, classes=len(classes), input_size=source.input_size)
    source = _with_weights(source, on_stage, on_note)
    defaults = record.TRAINED if source.weights.trained else record.UNTRAINED
    on_stage(Stage("read the pictures"))
    plan = Plan(
        model=spec.key,
        weights=source.weights,
        weights_file=source.path and str(source.path),
        preprocess=source.preprocess,
        classes=classes,
        data=str(data),
        paths=tuple(map(str, paths)),
        labels=labels,
        validation=held,
        digest=_digest(paths, labels, classes, held),
        augment=augment,
        head_epochs=defaults.head_epochs if head_epochs is None else head_epochs,
        epochs=defaults.epochs if epochs is None else epochs,
        batch_size=batch_size,
        learning_rate=defaults.learning_rate if learning_rate is None else learning_rate,
        seed=seed,
    )
    if plan.head_epochs == plan.epochs == 0:
        raise UsageError("--head-epochs and --epochs are both 0, so that nothing would be trained")
    state = out.with_name(f"{out.name}.training")
    _begin(plan, state, out, spec.params, force, on_note)
    def run(function):
        on_stage(Stage("load TensorFlow"))
        job = {"plan": dataclasses.asdict(plan), "state": str(state)}
        outcome = process.run(f"edgecls.finetuning.stages:{function}", job, verbose=verbose, on_event=on_event)
        os.replace(state / record.RESULT, out)
        return Finetuned(out, artifact.decode(Training, outcome.result))

    def on_event(event):
        if "note" in event:
            on_note(event["note"])
        elif "epoch" in event:
            on_epoch(artifact.decode(Epoch, event["epoch"]), event["best"])
        else:
            on_stage(Stage(event["stage"], event.get("done", 0), event.get("total", 0)))

    try:
        done = run("train")
    except KeyboardInterrupt:
        if not (state / record.EPOCHS).exists():
            on_note("no epoch was done, so there is no model yet; the same call goes on")
            raise
        kept = run("conclude").training
        rightly = f"{100 * kept.accuracy:.1f}% of {kept.validation} validation pictures named rightly"
        on_note(f"the best so far is kept in {out}: {rightly}; the same call goes on")
        raise
    except UsageError:
        shutil.rmtree(state)
        raise
    shutil.rmtree(state)
    return done


def _check(numbers: Mapping[str, int | None], *, learning_rate, validation, augment, out: Path) -> None:
    """Raises UsageError, UnknownName."""
    for name, number in numbers.items():
        least = 1 if name == "batch_size" else 0
        if number is not None and number < least:
            raise UsageError(f"{_option(name)} must be at least {least}, got {number}")
    if learning_rate is not None and not 0 < learning_rate < 1:
        raise UsageError(f"--learning-rate must be between 0 and 1, got {learning_rate}")
    if not 0 < validation < 1:
        raise UsageError(f"--validation must be a share between 0 and 1, got {validation}")
    if augment not in get_args(Augment):
        raise UnknownName("augmentation", augment, get_args(Augment))
    if out.suffix != ".keras":
        raise UsageError(f"--out must end in .keras, got {str(out)!r}")
    if out.is_dir():
        raise UsageError(f"--out {str(out)!r} is a folder; give a file in it")
    artifact.check_writable(out.parent)


def _option(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


def _with_weights(source: Source, on_stage, on_note) -> Source:
    """With published weights at hand, if it is to begin with any. Raises DownloadFailed."""

    def on_bytes(done, total):
        on_stage(Stage("download the weights", done, total or 0))

    if published := source.choice.published:
        try:
            found = pretrained.obtain(source.spec, published, on_bytes=on_bytes, on_note=on_note)
        except DownloadFailed as error:
            if source.choice.required:
                raise
            source = source.untrained(str(error))
        else:
            source = source.trained(found.sha256, pretrained.path(source.spec, published))
    if not source.weights.trained:
        why = f", since {source.weights.reason}" if source.weights.reason else ""
        on_note(f"untrained: it begins with random weights{why}; that takes many more pictures and epochs")
    for note in source.published_notes():
        on_note(note)
    return source


def _pictures(data, validation, seed, on_note):
    """(paths, labels, classes, numbers of those to validate on) of the data set. Raises BadFile, UsageError."""
    found, held = _read(Path(data))
    for part in filter(None, (found, held)):
        if part.labels is None:
            raise UsageError(f"no class folders in {part.source!r}; it should hold one folder of pictures for each class")
        if part.skipped:
            more = f" and {len(part.skipped) - _SHOWN} more" if part.skipped[_SHOWN:] else ""
            on_note(f"left out of {part.source}: {', '.join(part.skipped[:_SHOWN])}{more}")
    used = sorted(set(found.labels))  # folders named by wnids come with all 1000 classes of ImageNet
    classes = tuple(found.classes[label] if found.classes else str(label) for label in used)
    if len(used) < 2:
        raise UsageError(f"{found.source!r} has one class, {classes[0]!r}; a classifier needs two")
    labels = [used.index(label) for label in found.labels]
    if held is None:
        for name, count in zip(classes, np.bincount(labels), strict=True):
            if count < 2:
                raise UsageError(f"class {name!r} has one picture; it needs two, to train and to validate on")
        return found.paths, tuple(labels), classes, _split(labels, validation, seed)
    if unknown := set(held.labels) - set(used):
        name = held.classes[min(unknown)] if held.classes else min(unknown)
        raise UsageError(f"{held.source!r} has pictures of {name!r}, to train on there are none")
    labels += [used.index(label) for label in held.labels]
    return (*found.paths, *held.paths), tuple(labels), classes, tuple(range(len(found.paths), len(labels)))


def _read(folder: Path) -> tuple[Dataset, Dataset | None]:
    """Pictures to train on, and those to validate on where a folder of their own holds them."""
    inside = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    if "train" not in inside or not inside <= set(dataset.SPLITS):  # a class may be called train
        return dataset.read(folder), None
    found = dataset.read(folder, split="train")
    held = next((name for name in _VALIDATION_FOLDERS if name in inside), None)
    return found, held and dataset.read(folder, split=held, classes=found.classes)


def _split(labels, share, seed) -> tuple[int, ...]:
    """Numbers of a `share` of each class, one at least and not all."""
    rng, held = np.random.default_rng(seed), []
    for label in range(max(labels) + 1):
        numbers = rng.permutation(np.flatnonzero(np.equal(labels, label)))
        held += numbers[: np.clip(round(share * len(numbers)), 1, len(numbers) - 1)].tolist()
    return tuple(sorted(held))


def _digest(paths, labels, classes, held) -> str:
    def content(path):
        try:
            return artifact.sha256(path)
        except OSError:  # named and left out when it is its turn to be decoded
            return "unreadable"

    with ThreadPoolExecutor() as pool:
        lines = zip(pool.map(content, paths), labels, strict=True)
        text = json.dumps([list(lines), classes, held])
    return hashlib.sha256(text.encode()).hexdigest()


def _begin(plan: Plan, state: Path, out: Path, params: int, force: bool, on_note) -> None:
    """See to it that the folder `state` holds what was done of this plan, if anything, and of no other."""
    options = json.loads(json.dumps(plan.options))
    try:
        before = json.loads((state / record.PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if before == options and not force:
        done = sum(1 for _ in open(state / record.EPOCHS)) if (state / record.EPOCHS).exists() else 0
        on_note(f"going on where it was stopped: {done} epochs are done")
        return
    if out.exists() and not force:
        raise UsageError(f"{str(out)!r} is there; choose another with --out, or replace it with --force")
    if before and not force:
        changed = [_CHANGED.get(name, _option(name)) for name in options if options[name] != before.get(name)]
        on_note(f"beginning anew, for other {', '.join(changed)} than {state.name} has")
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    pixels = plan.preprocess.crop**2 * plan.preprocess.channels
    needed, free = len(plan.paths) * pixels + _BYTES_PER_PARAMETER * params, shutil.disk_usage(state).free
    if free < needed:
        state.rmdir()
        raise WorkFailed(f"{needed / 1e9:.1f} GB are needed beside {str(out)!r}, {free / 1e9:.1f} GB are free; make room")
    with artifact.writing(state / record.PLAN) as file:
        json.dump(options, file)
