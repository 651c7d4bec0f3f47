"""The zoo's table: `variant` adds a row, `get` and `select` read them.

A family module in `edgecls/models/` adds its rows when it is imported; `rows()` imports them all.
None of them imports Keras before a model is built.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from edgecls.errors import UnknownName, UsageError
from edgecls.spec import Family, ModelSpec, Preprocess, Tier, WeightSource

_rows: list[ModelSpec | None] = []


def variant(
    name: str,
    *,
    source: str,
    reference: str,
    family: Family,
    source_name: Callable[[str], str],
    params: int,
    macs: int,
    preprocess: Preprocess,
    min_input_size: int,
    size_step: int = 1,
    size_reason: str = "",
    classes: int = 1000,
    options: Mapping[str, Any] | None = None,
    unused_tensors: tuple[str, ...] = (),
    older_names: Mapping[str, str] | None = None,
    aliases: tuple[str, ...] = (),
):
    """Declare one row above the function that builds it; rows keep the order of the text.

    The input size is the preprocessing's crop. Of several rows of one name the first is what the
    bare name means.
    """
    slot = len(_rows)
    _rows.append(None)  # decorators are evaluated top down but applied bottom up

    def decorate(build):
        _rows[slot] = ModelSpec(
            name=name,
            source=source,
            reference=reference,
            family=family,
            build=build,
            source_name=source_name,
            params=params,
            macs=macs,
            input_size=preprocess.crop,
            min_input_size=min_input_size,
            size_step=size_step,
            size_reason=size_reason,
            preprocess=preprocess,
            classes=classes,
            options=dict(options or {}),
            unused_tensors=unused_tensors,
            older_names=dict(older_names or {}),
            aliases=aliases,
            weights=_published_weights(f"{name}.{source}", preprocess),
        )
        return build

    return decorate


def _published_weights(key: str, preprocess: Preprocess) -> tuple[WeightSource, ...]:
    """Of the row `key`, whose preprocessing theirs is but for what the table changes of it."""
    found = []
    for record in _weights_table().get(key, ()):
        theirs = dataclasses.replace(preprocess, **record.get("preprocess", {}))
        found.append(WeightSource(**record | {"preprocess": theirs}))
    return tuple(found)


@functools.cache
def _weights_table() -> dict[str, list[dict[str, Any]]]:
    """Row -> its published weights, the default first; written by scripts/weight_table."""
    return json.loads((Path(__file__).parent / "models" / "_weights.json").read_text())


def families() -> tuple[Family, ...]:
    """Every family, the oldest first."""
    found = dict.fromkeys(row.family for row in rows())
    return tuple(sorted(found, key=lambda family: family.year))


@functools.cache
def rows() -> tuple[ModelSpec, ...]:
    """Every row: families in the order of their file names, rows in the order of the text."""
    from edgecls import models

    for module in pkgutil.iter_modules(models.__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"edgecls.models.{module.name}")
    seen: set[str] = set()
    for row in _rows:
        if row is None:
            raise RuntimeError("a row was declared without a function to build it")
        if row.key in seen:
            raise RuntimeError(f"two rows are called {row.key}")
        seen.add(row.key)
    return tuple(sorted(_rows, key=lambda row: row.family.name))


def get(name: str) -> ModelSpec:
    """The row called `name` or `name.source`; names may be aliases.

    Raises UnknownName with the nearest names.
    """
    named = {known: row for row in reversed(rows()) for known in row.names}
    if name in named:
        return named[name]
    stem, dot, source = name.partition(".")
    if dot and stem in named:
        sources = [row.source for row in rows() if stem in row.names]
        raise UnknownName(f"source of {stem}", source, sources)
    raise UnknownName("architecture", name, [known for known in named if ("." in known) == bool(dot)])


def shortest_name(spec: ModelSpec) -> str:
    """What names the row and no other: the bare name of the first row that has it, else the key."""
    return spec.name if get(spec.name) is spec else spec.key


def namesakes(spec: ModelSpec) -> list[str]:
    """The keys of the rows of the same name from other sources."""
    return [row.key for row in rows() if row.name == spec.name and row is not spec]


def select(
    patterns: Iterable[str] = (),
    *,
    family: str | None = None,
    tier: Tier | str | None = None,
    max_macs: float | None = None,
    max_params: float | None = None,
) -> list[ModelSpec]:
    """Rows any of whose names matches any glob in `patterns` (all rows if none) and every limit."""
    patterns = list(patterns)
    if tier is not None and tier not in list(Tier):
        raise UnknownName("tier", str(tier), list(Tier))
    families = {row.family.name for row in rows()}
    if family is not None and family not in families:
        raise UnknownName("family", family, families)
    for pattern in patterns:
        if not any(_matches(row, pattern) for row in rows()):
            if set(pattern) & set("*?["):
                raise UsageError(f"no architecture matches {pattern!r}; `edgecls list` shows all")
            get(pattern)
    return [
        row
        for row in rows()
        if (not patterns or any(_matches(row, pattern) for pattern in patterns))
        and family in (None, row.family.name)
        and tier in (None, row.tier)
        and (max_macs is None or row.macs <= max_macs)
        and (max_params is None or row.params <= max_params)
    ]


def _matches(row: ModelSpec, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in row.names)
