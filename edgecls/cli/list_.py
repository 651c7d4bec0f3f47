"""`edgecls list`."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import typer

from edgecls import registry
from edgecls.errors import UsageError
from edgecls.spec import Family, ModelSpec
from edgecls.text import count, table


class _Column(NamedTuple):
    header: str
    cell: Callable[[Any], str]
    numeric: bool = False


def list_(
    patterns: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Names or globs such as 'mobilenet*'.")
    ] = None,
    family: Annotated[str | None, typer.Option(help="Only this family.")] = None,
    tier: Annotated[str | None, typer.Option(help="Only light or only heavy ones.")] = None,
    max_macs: Annotated[str | None, typer.Option(metavar="N", help="At most N MACs: 300M.")] = None,
    max_params: Annotated[str | None, typer.Option(metavar="N", help="At most N parameters: 5M.")] = None,
    families: Annotated[bool, typer.Option("--families", help="The families and their ideas.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with everything known.")] = False,
) -> None:
    """List the architectures. MACs are of one picture of the input size; 1 MAC = 2 FLOPs.

    top-1 and top-5 are % of ImageNet (of CIFAR-10 for rows of CIFAR) with the published weights named,
    measured at the input size, or at the one after the @.
    """
    rows = registry.select(
        patterns or (),
        family=family,
        tier=tier,
        max_macs=_number(max_macs, "--max-macs"),
        max_params=_number(max_params, "--max-params"),
    )
    if families:
        listed = [known for known in registry.families() if any(row.family == known for row in rows)]
        columns, record = _FAMILY_COLUMNS, dataclasses.asdict
    else:
        listed, columns, record = rows, _ROW_COLUMNS, _record
    print(_json(listed, record) if as_json else _table(listed, columns), end="")


_FAMILY_COLUMNS = (
    _Column("family", lambda family: family.name),
    _Column("title", lambda family: family.title),
    _Column("year", lambda family: str(family.year), numeric=True),
    _Column("idea", lambda family: family.idea),
)

_ROW_COLUMNS = (
    _Column("name", lambda row: row.key),
    _Column("family", lambda row: row.family.name),
    _Column("year", lambda row: str(row.family.year), numeric=True),
    _Column("paper", lambda row: row.family.short_paper),
    _Column("params", lambda row: count(row.params), numeric=True),
    _Column("MACs", lambda row: count(row.macs), numeric=True),
    _Column("input", lambda row: str(row.input_size), numeric=True),
    _Column("top-1", lambda row: _accuracy(row, "top1"), numeric=True),
    _Column("top-5", lambda row: _accuracy(row, "top5"), numeric=True),
    _Column("weights", lambda row: _weights(row)),
)


def _accuracy(row: ModelSpec, field: str) -> str:
    value = getattr(row.weights[0], field) if row.weights else None
    return "-" if value is None else f"{value:.1f}"


def _weights(row: ModelSpec) -> str:
    """The default weights, and the size they were measured at where it is not the row's."""
    if not row.weights:
        return "none known"
    size = row.weights[0].preprocess.crop
    return row.weights[0].tag + (f" @{size}" if size != row.input_size else "")


def _table(listed: Sequence[ModelSpec | Family], columns: Sequence[_Column]) -> str:
    cells = [[column.cell(item) for column in columns] for item in listed]
    numeric = [column.numeric for column in columns]
    return table([column.header for column in columns], cells, numeric=numeric, styled=sys.stdout.isatty())


def _json(listed: Sequence[ModelSpec | Family], record: Callable[[Any], dict[str, Any]]) -> str:
    return json.dumps([record(item) for item in listed], indent=1) + "\n"


def _record(row: ModelSpec) -> dict[str, Any]:
    family = row.family
    return {
        "name": row.name,
        "source": row.source,
        "equals": row.reference,
        "family": family.name,
        "title": family.title,
        "year": family.year,
        "paper": family.paper,
        "tier": row.tier,
        "params": row.params,
        "macs": row.macs,
        "input": row.input_size,
        "min_input": row.min_input_size,
        "input_step": row.size_step,
        "classes": row.classes,
        "aliases": row.aliases,
        "preprocess": row.preprocess.to_json(),
        "weights": [dataclasses.asdict(weights) for weights in row.weights],
    }


def _number(text: str | None, option: str) -> float | None:
    """ "300M" -> 300e6. Raises UsageError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([KMG]?)", text.strip(), re.IGNORECASE)
    if not match:
        raise UsageError(f"{option} is a number such as 300M or 4.1G, got {text!r}")
    return float(match[1]) * {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}[match[2].upper()]
