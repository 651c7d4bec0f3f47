"""`edgecls push`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgecls import artifact
from edgecls.cli.progress import Transfers
from edgecls.cli.words import words
from edgecls.devices.push import FOLDER
from edgecls.errors import WorkFailed
from edgecls.text import table
from edgecls.verbs import push as verb

_HEADERS = ("phone", "file", "MB", "")
_NUMERIC = (False, False, True, False)


def push(
    targets: Annotated[
        list[str], typer.Argument(metavar="NAME|FILE...", help="Architectures, and files that export made.")
    ],
    serial: Annotated[
        str | None,
        typer.Option(
            metavar="SERIAL", help="Which phone, see `edgecls devices`; the only one.", show_default=False
        ),
    ] = None,
    everywhere: Annotated[
        bool, typer.Option("--all", help="Every phone that is ready, side by side.")
    ] = False,
    to: Annotated[str, typer.Option(metavar="DIR", help="The folder of the phone that gets NAME/.")] = FOLDER,
    recipe: Annotated[
        str, typer.Option(metavar="NAME,...", help="What to push of an architecture, by commas, as .tflite.")
    ] = ",".join(verb.DEFAULT_RECIPES),
    artifacts: Annotated[
        Path, typer.Option(metavar="DIR", help="Where exported files of architectures are.")
    ] = Path(artifact.FOLDER),
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of records.")] = False,
) -> None:
    """Put files on a phone by adb, each with its manifest and its labels, in a folder of the model's name.

    Of an architecture what is missing is exported first. Size and sha256 are checked on the phone; what is
    there unchanged is not sent again, and a file appears there whole or not at all.
    """
    with Transfers() as transfers:
        pushed = verb.push(
            targets,
            serial=serial,
            everywhere=everywhere,
            to=to,
            recipes=words(recipe),
            artifacts=artifacts,
            on_bytes=transfers.show,
            on_note=transfers.note,
        )
    if as_json:
        records = [dataclasses.asdict(one) | {"error": one.error and str(one.error)} for one in pushed]
        print(json.dumps(records, indent=1))
    elif rows := [_row(one, file) for one in pushed for file in one.files]:
        print(table(_HEADERS, rows, numeric=_NUMERIC, styled=sys.stdout.isatty()), end="")
    failed = [one for one in pushed if one.error]
    if len(failed) == 1:
        raise failed[0].error
    for one in failed:
        print(f"note: {one.model}: {one.error}", file=sys.stderr)
    if failed:
        raise WorkFailed(f"{len(failed)} of {len(pushed)} transfers failed") from failed[0].error


def _row(one, file):
    return one.serial, file.path, f"{file.bytes / 1e6:.2f}", "sent" if file.sent else "unchanged"
