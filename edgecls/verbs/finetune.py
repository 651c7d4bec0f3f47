"""From pictures in class folders to a trained Keras model."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from edgecls import artifact, builder, pretrained, process, registry
from edgecls.errors import DownloadFailed, UnknownName, UsageError, WorkFailed
from edgecls.exporters import source as sources
from edgecls.exporters.source import Source
from edgecls.finetuning import record, selection
from edgecls.finetuning.record import Augment, Epoch, Plan, Training

#: What may have changed since, where it is not an option's name.
_CHANGED = {"digest": "pictures", "preprocess": "--input-size", "model": "architecture"}
_OTHERWISE = "choose another with --out, or replace it with --force"
#: Disk space that training takes: the best weights of two stages and two backups, with Adam's moments, and the result.
_BYTES_PER_PARAMETER = 52


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

    data, validation: see `selection.select`.
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
    state = out.with_name(f"{out.name}.training")
    if out.exists() and not force and not state.exists():
        raise UsageError(f"{str(out)!r} is there; {_OTHERWISE}")
    pictures = selection.select(data, validation=validation, seed=seed, on_note=on_note)
    builder.check_sizes(spec, classes=len(pictures.classes), input_size=source.input_size)
    source = _with_weights(source, on_stage, on_note)
    defaults = record.TRAINED if source.weights.trained else record.UNTRAINED
    on_stage(Stage("read the pictures"))
    plan = Plan(
        model=spec.key,
        weights=source.weights,
        weights_file=source.path and str(source.path),
        preprocess=source.preprocess,
        **vars(pictures),
        digest=pictures.digest(),
        augment=augment,
        head_epochs=defaults.head_epochs if head_epochs is None else head_epochs,
        epochs=defaults.epochs if epochs is None else epochs,
        batch_size=batch_size,
        learning_rate=defaults.learning_rate if learning_rate is None else learning_rate,
        seed=seed,
    )
    if plan.head_epochs == plan.epochs == 0:
        raise UsageError("--head-epochs and --epochs are both 0, so that nothing would be trained")
    _begin(plan, state, out, spec.params, force, on_note)

    def on_event(event):
        if "note" in event:
            on_note(event["note"])
        elif "epoch" in event:
            on_epoch(artifact.decode(Epoch, event["epoch"]), event["best"])
        else:
            on_stage(Stage(event["stage"], event.get("done", 0), event.get("total", 0)))

    def run(function):
        on_stage(Stage("load TensorFlow"))
        job = {"plan": dataclasses.asdict(plan), "state": str(state)}
        outcome = process.run(f"edgecls.finetuning.stages:{function}", job, verbose=verbose, on_event=on_event)
        os.replace(state / record.RESULT, out)
        return Finetuned(out, artifact.decode(Training, outcome.result))

    try:
        done = run("train")
    except KeyboardInterrupt:
        if not (state / record.EPOCHS).exists():
            on_note("no epoch was done, so there is no model yet; the same call goes on")
            raise
        on_note("interrupted: the best so far is being kept; Ctrl-C once more leaves it")
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
    for note in source.weights_notes():
        on_note(note)
    return source


def _begin(plan: Plan, state: Path, out: Path, params: int, force: bool, on_note) -> None:
    """See to it that the folder `state` holds what was done of this plan, if anything, and of no other."""
    options = json.loads(json.dumps(plan.options))
    try:
        before = json.loads((state / record.PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if state.exists() and any(state.iterdir()):
            raise UsageError(f"{str(state)!r} is there and holds no training; move it away") from error
        before = None
    if before == options and not force:
        done = sum(1 for _ in open(state / record.EPOCHS)) if (state / record.EPOCHS).exists() else 0
        on_note(f"going on where it was stopped: {done} epochs are done")
        return
    if before and not force:
        changed = [_CHANGED.get(name, _option(name)) for name in options if options[name] != before.get(name)]
        others = f"{', '.join(changed)} changed since {state.name} was begun"
        if out.exists():
            raise UsageError(f"{others}, and {str(out)!r} is there; {_OTHERWISE}")
        on_note(f"beginning anew: {others}")
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    pixels = plan.preprocess.crop**2 * plan.preprocess.channels
    needed, free = len(plan.paths) * pixels + _BYTES_PER_PARAMETER * params, shutil.disk_usage(state).free
    if free < needed:
        state.rmdir()
        raise WorkFailed(f"{needed / 1e9:.1f} GB are needed beside {str(out)!r}, {free / 1e9:.1f} GB are free; make room")
    with artifact.writing(state / record.PLAN) as file:
        json.dump(options, file)
