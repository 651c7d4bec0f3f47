"""`edgecls finetune`."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, get_args

import typer

from edgecls import pretrained
from edgecls.cli.progress import Bar
from edgecls.finetuning.record import BATCH_SIZE, TRAINED, UNTRAINED, VALIDATION, Augment
from edgecls.text import table


def finetune(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An architecture.")],
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Pictures, a folder for each class; or those in train/ and val/.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.keras", help="The model; DIR.keras by default.", show_default=False)
    ] = None,
    weights: Annotated[
        str, typer.Option(metavar="auto|imagenet[:TAG]|random|FILE", help="What to begin with; auto as in export.")
    ] = pretrained.AUTO,
    input_size: Annotated[
        int | None, typer.Option(help="Pixels; the architecture's own by default.", show_default=False)
    ] = None,
    augment: Annotated[
        str,
        typer.Option(
            metavar="|".join(get_args(Augment)),
            help="light moves and scales, standard mirrors and relights too; auto is light for gray pictures.",
        ),
    ] = "auto",
    validation: Annotated[float, typer.Option(metavar="SHARE", help="Of each class, where there is no val/.")] = VALIDATION,
    head_epochs: Annotated[
        int | None,
        typer.Option(help=f"Of the head alone, at most; {TRAINED.head_epochs}, untrained {UNTRAINED.head_epochs}.", show_default=False),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help=f"Of the whole, at most; {TRAINED.epochs}, untrained {UNTRAINED.epochs}.", show_default=False)
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Pictures in a step.")] = BATCH_SIZE,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help=f"Of the whole, at its highest; {TRAINED.learning_rate:g}, untrained {UNTRAINED.learning_rate:g}.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split, the new head and the augmentation.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace --out, and begin anew.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record that is in --out as JSON.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what TensorFlow prints.")] = False,
) -> None:
    """Train an architecture on your own pictures.

    First the head, on features that are computed once, then the whole network; the epoch that does best on
    the validation pictures is kept. Interrupted, the same call goes on where it was, and Ctrl-C keeps the
    best so far.
    """
    from edgecls.verbs import finetune as verb  # has numpy, which --help need not wait for

    start = time.monotonic()
    with Bar() as bar:
        done = verb.finetune(
            name,
            data=data,
            out=out,
            weights=weights,
            input_size=input_size,
            augment=augment,
            validation=validation,
            head_epochs=head_epochs,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            force=force,
            verbose=verbose,
            on_stage=lambda stage: bar.show(stage.what, stage.done, stage.total),
            on_epoch=lambda epoch, best: bar.say(_line(epoch) + "  best" * best),
            on_note=bar.note,
        )
    training = done.training
    if as_json:
        print(json.dumps({"file": str(done.path), **dataclasses.asdict(training)}, indent=1))
    else:
        row = (
            str(done.path),
            training.model,
            str(len(training.labels)),
            str(training.pictures),
            f"{100 * training.accuracy:.1f}% of {training.validation}",
            f"{done.path.stat().st_size / 1e6:.2f}",
            f"{time.monotonic() - start:.0f}",
        )
        print(table(_HEADERS, [row], numeric=_NUMERIC, styled=sys.stdout.isatty()), end="")
    int8 = ["--int8", "--calibration", training.data] if Path(training.data).is_dir() else []
    print(f"next: {shlex.join(['edgecls', 'export', str(done.path), *int8])}", file=sys.stderr)


_HEADERS = ("file", "architecture", "classes", "pictures", "right in validation", "MB", "seconds")
_NUMERIC = (False, False, True, True, True, True, True)


def _line(epoch):
    figures = f"loss {epoch.loss:.3f}  accuracy {epoch.accuracy:6.1%}  validation {epoch.val_accuracy:6.1%}"
    return f"{epoch.stage:5} {epoch.number:3}/{epoch.total:<3}  {figures}  {epoch.seconds:6.1f} s"
