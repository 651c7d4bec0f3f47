"""`edgecls tune`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgecls import artifact, pretrained
from edgecls.cli.progress import Bar
from edgecls.cli.words import words
from edgecls.errors import UsageError, WorkFailed
from edgecls.exporters import calibration as calibrations
from edgecls.text import table


def tune(
    target: Annotated[str, typer.Argument(metavar="NAME|FILE", help="An architecture, or a float model, as for export.")],
    min_sqnr: Annotated[
        float | None, typer.Option(metavar="DB", help="SQNR that the logits must have at least.", show_default=False)
    ] = None,
    max_drop: Annotated[
        str | None,
        typer.Option(
            metavar="N%",
            help="Top-1 that may be lost: of --data, else pictures where the best class may be another.",
            show_default=False,
        ),
    ] = None,
    budget_ms: Annotated[
        float | None, typer.Option(metavar="MS", help="What one inference may take at most.", show_default=False)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DIR|LIST", help="Labelled pictures to measure the drop on, as for evaluate.", show_default=False),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="FILE|imagenet|cifar10", help="As for evaluate.", show_default=False)
    ] = None,
    format: Annotated[str | None, typer.Option(help="Formats, by commas; all by default.", show_default=False)] = None,
    weights: Annotated[str, typer.Option(help="Weights of an architecture, as for export.")] = pretrained.AUTO,
    calibration: Annotated[
        str, typer.Option(metavar="DIR|LIST|FILE.npy|synthetic", help="Pictures to take the ranges of int8 from.")
    ] = calibrations.SYNTHETIC,
    samples: Annotated[int | None, typer.Option(help="How many of them.", show_default=False)] = None,
    preprocess: Annotated[
        list[str] | None, typer.Option(help="How pictures become a model file's input.", show_default=False)
    ] = None,
    io: Annotated[str | None, typer.Option(help="Types of the int8 graph's ends, as for export.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="Of random weights and the choice of pictures.")] = 0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where files are, or go.")] = Path(artifact.FOLDER),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with everything known.")] = False,
) -> None:
    """Find the fastest file that loses no more than you allow.

    Tries int8 with each calibration method and with one scale for each tensor; where that does not do, keeps
    the layers that `edgecls inspect` blames in float or int16, as few as possible. What was tried is kept:
    asked again, or interrupted, it goes on where it was. The file that is chosen becomes NAME-tuned.FORMAT,
    unless it is the float or the int8 file itself. Exit code 1 where nothing is good and fast enough.
    """
    from edgecls.verbs import tune as verb

    with Bar() as bar:

        def on_trial(format, words, trial):
            if trial is None:
                bar.show(f"{format}: {words}")

        found = verb.tune(
            target,
            min_sqnr=min_sqnr,
            max_drop=None if max_drop is None else _share(max_drop),
            budget_ms=budget_ms,
            data=data,
            labels=labels,
            formats=format and words(format),
            weights=weights,
            calibration=calibration,
            samples=samples,
            preprocess=preprocess,
            io=io,
            seed=seed,
            out=out,
            on_trial=on_trial,
            on_note=bar.note,
        )
    if as_json:
        print(json.dumps([dataclasses.asdict(one) for one in found], indent=1))
    else:
        print("\n".join(_shown(one) for one in found), end="")
    if missing := [one.format for one in found if one.chosen is None]:
        raise WorkFailed(f"{', '.join(missing)}: nothing that was tried is good and fast enough")


def _share(text: str) -> float:
    """ "1%" -> 0.01"""
    try:
        if not text.endswith("%"):
            raise ValueError
        return float(text[:-1]) / 100
    except ValueError:
        raise UsageError(f"--max-drop is a share of pictures such as 1%, got {text!r}") from None


#: Characters of the longest bar of times.
_WIDTH = 30
_HEADERS = ("", "format", "what", "SQNR dB", "top-1 same", "drop", "MB", "ms", "")
_NUMERIC = (False, False, False, True, True, True, True, True, False)


def _shown(found) -> str:
    """Slowest last, with a bar for the time of each."""
    tried = sorted((one for one in found.trials if not one.error), key=lambda one: one.ms)
    slowest = max(one.ms for one in tried)
    rows = [
        (
            ">" if one == found.chosen else "*" if one in found.front else "",
            found.format,
            one.words,
            "identical" if one.sqnr_db is None else f"{one.sqnr_db:.1f}",
            f"{100 * one.top1:.0f}%",
            f"{100 * one.drop:.1f}%",
            f"{one.bytes / 1e6:.2f}",
            f"{one.ms:.2f}",
            "#" * max(1, round(_WIDTH * one.ms / slowest)),
        )
        for one in tried
    ]
    lines = [
        table(_HEADERS, rows, numeric=_NUMERIC, styled=sys.stdout.isatty()).rstrip(),
        *(f"{one.words} failed: {one.error}" for one in found.trials if one.error),
        f"{found.format}: > chosen, * no other is both faster and closer to float; drop on {found.judged_on}",
    ]
    if found.chosen and found.chosen.choice and found.chosen.choice.layers:
        kept = ", ".join(name.partition(";")[0] for name in found.chosen.choice.layers)
        lines.append(f"in {found.chosen.choice.kind}: {kept}")
    return "\n".join([*lines, *([found.file] if found.file else [])]) + "\n"
