"""`edgecls devices`."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Annotated

import typer

from edgecls.text import table

_HEADERS = ("serial", "state", "model", "SoC", "Android", "ABI", "free MB")
_NUMERIC = (False, False, False, False, False, False, True)


def devices(
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of records.")] = False,
) -> None:
    """List the phones that adb knows, and say what keeps one from being ready.

    What a phone does not tell of itself is shown as -.
    """
    from edgecls.devices import adb
    from edgecls.verbs import devices as verb

    found = verb.devices(on_note=_note)
    if as_json:
        print(json.dumps([_record(one) for one in found], indent=1))
    elif found:
        print(
            table(_HEADERS, [_row(one) for one in found], numeric=_NUMERIC, styled=sys.stdout.isatty()),
            end="",
        )
    else:
        _note(f"no phone is connected; {adb.ENABLE}")
    for one in found:
        if one.listed.way_out:
            _note(f"{one.listed.serial} is {one.listed.state}: {one.listed.way_out}")


def _row(one):
    known = one.facts
    android = known and known.android and known.android + (f" (API {known.api})" if known.api else "")
    return (
        one.listed.serial,
        "ready" if one.listed.ready else one.listed.state,
        _model(one),
        (known and known.soc) or "-",
        android or "-",
        known.abis[0] if known else "-",
        f"{known.free / 1e6:.0f}" if known and known.free is not None else "-",
    )


def _model(one):
    if one.facts and one.facts.virtual:
        return "an emulator"
    return (one.facts and one.facts.model) or (one.listed.model or "-").replace("_", " ")


def _record(one):
    listed = dataclasses.asdict(one.listed) | {"ready": one.listed.ready, "way_out": one.listed.way_out}
    return listed | {"facts": one.facts and dataclasses.asdict(one.facts)}


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
