"""`edgecls list`."""

from __future__ import annotations

import json
import re
import sys
from typing import Annotated

import typer

from edgecls import registry
from edgecls.errors import UsageError
from edgecls.text import count, table
from edgecls.spec import ModelSpec

#: Column -> what it shows of a row; the names are the keys in JSON.
_COLUMNS = {
    "name": lambda row: row.name,
    "source": lambda row: row.source,
    "family": lambda row: row.family.name,
    "year": lambda row: row.family.year,
    "tier": lambda row: str(row.tier),
    "params": lambda row: row.params,
    "macs": lambda row: row.macs,
    "input": lambda row: row.input_size,
}
_NUMERIC = ("year", "params", "macs", "input")


def list_(
    patterns: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Names or globs such as 'mobilenet*'.")
    ] = None,
    family: Annotated[str | None, typer.Option(help="Only this family.")] = None,
    tier: Annotated[str | None, typer.Option(help="Only light or only heavy ones.")] = None,
    max_macs: Annotated[str | None, typer.Option(metavar="N", help="At most N MACs, such as 300M.")] = None,
    max_params: Annotated[str | None, typer.Option(metavar="N", help="At most N parameters, such as 5M.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the architectures. MACs are of one picture of the input size; 1 MAC = 2 FLOPs."""
    rows = registry.select(
        patterns or (),
        family=family,
        tier=tier,
        max_macs=_number(max_macs, "--max-macs"),
        max_params=_number(max_params, "--max-params"),
    )
    if as_json:
        print(json.dumps([_record(row) for row in rows], indent=1))
        return
    cells = [[_cell(name, value) for name, value in _record(row).items()] for row in rows]
    numeric = [name in _NUMERIC for name in _COLUMNS]
    print(table(list(_COLUMNS), cells, numeric=numeric, styled=sys.stdout.isatty()), end="")


def _record(row: ModelSpec) -> dict[str, str | int]:
    return {name: value(row) for name, value in _COLUMNS.items()}


def _cell(name: str, value: str | int) -> str:
    return count(value) if name in ("params", "macs") else str(value)


def _number(text: str | None, option: str) -> float | None:
    """ "300M" -> 300e6. Raises UsageError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([KMG]?)", text.strip(), re.IGNORECASE)
    if not match:
        raise UsageError(f"{option} is a number such as 300M or 4.1G, got {text!r}")
    return float(match[1]) * {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}[match[2].upper()]
