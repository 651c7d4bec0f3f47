"""`edgecls metadata`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgecls.text import printable


def metadata(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .tflite or .onnx file, exported here or elsewhere.")
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|imagenet|cifar10",
            help="Name the outputs by a file with one name a line, in their order.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change name, description, version, author, licence, input, mean, std, color. May be repeated.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a record with everything known.")] = False,
) -> None:
    """Show or change what a file says of itself: its labels, and how pictures become its input.

    Phones read it from the file. What the model computes stays as it is, bit for bit; a manifest beside the
    file follows.
    """
    from edgecls.verbs import metadata as verb

    if labels is None and not settings:
        found = verb.carried(file)
    else:
        found = verb.change(file, labels=labels, settings=settings or ())
    if as_json:
        print(json.dumps(dataclasses.asdict(found), indent=1, ensure_ascii=False))
        return
    said = found.metadata
    if said is None:
        print(f"{file.name} carries no metadata: --labels and --set write some")
    else:
        rows = {key: getattr(said, key) for key in verb.KEYS} | {
            "labels": _labels(said.labels),
            "kept": said.kept or None,
        }
        for key, value in rows.items():
            print(f"{key:11}  {'-' if value is None else printable(_words(value))}")
    for remark in found.remarks:
        print(f"note: {remark}", file=sys.stderr)


def _labels(labels):
    if labels is None:
        return None
    shown = [*labels[:3], "...", labels[-1]] if len(labels) > 4 else labels
    return f"{len(labels)}: {', '.join(shown)}"


def _words(value):
    return (
        value
        if isinstance(value, str)
        else ", ".join(f"{one:g}" if isinstance(one, float) else one for one in value)
    )
