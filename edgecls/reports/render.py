"""Profiles as a table, Markdown, CSV or JSON: the same columns, light models before heavy ones."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Sequence

from edgecls.errors import UnknownName
from edgecls.profiling import Profile
from edgecls.reports.columns import COLUMNS, EMULATED, MEAN, NOISY, UNTRAINED, Column
from edgecls.reports.summary import summary_lines
from edgecls.text import table


def render(profiles: Sequence[Profile], format: str, *, styled: bool = False) -> str:
    """The report in one of `FORMATS`, ending in a newline. Raises UnknownName.

    "csv" and "json" hold every figure, one record per measurement, and no words.
    styled: with a terminal's control sequences where the format has any.
    """
    if format not in FORMATS:
        raise UnknownName("report format", format, FORMATS)
    return FORMATS[format](light_to_heavy(profiles), styled=styled)


def light_to_heavy(profiles: Sequence[Profile]) -> list[Profile]:
    """By MACs, those without a count last; a model's by runtime, large files before small ones, a file's on
    this computer before those on phones."""
    macs: dict[str, float] = {}
    for profile in profiles:
        model, known = profile.subject.model, profile.subject.macs
        macs[model] = min(math.inf if known is None else known, macs.get(model, math.inf))

    def weight(profile):
        model = profile.subject.model
        return macs[model], model, profile.runtime, -(profile.subject.bytes or 0), profile.place or ""

    return sorted(profiles, key=weight)


def footer(profiles: Sequence[Profile]) -> list[str]:
    """What failed, what the marks mean, and the summary."""
    failures = [f"failed: {profile.case}: {profile.error}" for profile in profiles if profile.error]
    legend = []
    if any(UNTRAINED.value(profile) for profile in profiles):
        legend.append(
            f"{UNTRAINED.mark} untrained: sizes and times are those of a trained model, answers are not"
        )
    if any(NOISY.value(profile) for profile in profiles):
        legend.append(f"{NOISY.mark} the machine was not quiet: measure again before comparing")
    if any(MEAN.value(profile) for profile in profiles):
        legend.append(f"{MEAN.mark} the mean: this benchmark tool tells no median")
    if any(EMULATED.value(profile) for profile in profiles):
        legend.append(f"{EMULATED.mark} run by an emulator: no phone's time, and compared with nothing")
    if any(profile.subject.cost for profile in profiles):
        legend.append("1 MAC = 2 FLOPs; peak MB is the whole process, Python and the runtime included")
    return failures + legend + summary_lines(profiles)


def _cells(profiles) -> tuple[list[Column], list[list[str]]]:
    """The columns that have something to show, and their cells."""
    columns = [column for column in COLUMNS if column.header is not None]
    rows = [[column.cell(profile) for column in columns] for profile in profiles]
    filled = [any(row[i].strip("-") for row in rows) for i in range(len(columns))]
    for i in reversed(range(1, len(rows))):
        same_model = profiles[i].subject.model == profiles[i - 1].subject.model
        rows[i] = [
            "" if same_model and column.once and cell == above else cell
            for column, cell, above in zip(columns, rows[i], rows[i - 1], strict=True)
        ]
    keep = [i for i, full in enumerate(filled) if full]
    return [columns[i] for i in keep], [[row[i] for i in keep] for row in rows]


def _table(profiles, *, styled) -> str:
    columns, rows = _cells(profiles)
    headers, numeric = [column.header for column in columns], [column.numeric for column in columns]
    text = table(headers, rows, numeric=numeric, styled=styled)
    return "\n".join([text, *footer(profiles)]).rstrip() + "\n"


def _markdown(profiles, *, styled) -> str:
    columns, rows = _cells(profiles)
    rule = ["---:" if column.numeric else "---" for column in columns]
    lines = [[column.header for column in columns], rule, *rows]
    table = ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]
    return "\n".join([*table, "", *(f"- {line}" for line in footer(profiles))]).rstrip() + "\n"


def _csv(profiles, *, styled) -> str:
    columns = [column for column in COLUMNS if not column.nested]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    for profile in profiles:
        values = [column.value(profile) for column in columns]
        writer.writerow(["; ".join(value) if isinstance(value, tuple) else value for value in values])
    return text.getvalue()


def _json(profiles, *, styled) -> str:
    records = [{column.name: column.value(profile) for column in COLUMNS} for profile in profiles]
    lines = ",\n".join(json.dumps(record, default=dataclasses.asdict) for record in records)
    return f"[\n{lines}\n]\n"


FORMATS: dict[str, Callable[..., str]] = {
    "table": _table,
    "json": _json,
    "csv": _csv,
    "md": _markdown,
}
