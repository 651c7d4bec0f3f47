"""Published weights: which ones `--weights` means, and the place that each has in the cache."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgecls import fetch, registry
from edgecls.artifact import WeightsInfo
from edgecls.errors import UnknownName, UsageError
from edgecls.spec import ModelSpec, WeightSource

#: What `--weights` may be besides a file; "imagenet:TAG" too.
AUTO, IMAGENET, RANDOM = "auto", "imagenet", "random"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Where a row's weights are to come from, other than a file of the user's own.

    published: those to have; None for random ones, of which `reason` says why they are where nobody
    asked for them. required: whether there is no going on without them.
    """

    published: WeightSource | None = None
    required: bool = False
    reason: str | None = None


def choose(spec: ModelSpec, weights: str | Path, *, classes: int) -> Choice | None:
    """What "auto", "imagenet", "imagenet:TAG" or "random" means for `spec`; None for a file.

    "imagenet" are the row's default weights, of CIFAR-10 for a row of CIFAR. "auto" are the same
    where there are any of so many classes, else random ones.
    Raises UsageError, UnknownName for weights that nobody publishes.
    """
    kind, colon, tag = str(weights).partition(":")
    if weights == RANDOM:
        return Choice()
    if kind not in (AUTO, IMAGENET) or colon and kind == AUTO:
        return None
    problem = _problem(spec, classes)
    if kind == AUTO:
        return Choice(reason=problem) if problem else Choice(published=spec.weights[0])
    if problem:
        raise UsageError(f"no {weights} weights: {problem}; {_advice(spec)}")
    return Choice(published=find(spec, tag) if colon else spec.weights[0], required=True)


def again(info: WeightsInfo) -> str:
    """What `--weights` has to be for the same weights once more."""
    return f"{IMAGENET}:{info.tag}" if info.tag else info.source


def _problem(spec: ModelSpec, classes: int) -> str | None:
    """Why no published weights fit."""
    if not spec.weights:
        return f"nobody publishes any that fit {spec.key}"
    if classes != spec.classes:
        return f"the published ones of {spec.key} are of {spec.classes} classes, not {classes}"
    return None


def _advice(spec: ModelSpec) -> str:
    if spec.weights:
        return "`edgecls finetune` trains another head on them"
    having = [row for row in registry.rows() if row.weights]
    near = [row.key for row in having if row.name == spec.name] or [
        row.key for row in having if row.family == spec.family
    ]
    if not near:
        return "`edgecls weights list` shows the rows that have some"
    more = f" and {len(near) - 6} more" if len(near) > 6 else ""
    return f"rows that have some are {', '.join(near[:6])}{more}"


def find(spec: ModelSpec, tag: str) -> WeightSource:
    """The published weights of a row by their tag. Raises UnknownName."""
    tags = {published.tag: published for published in spec.weights}
    if tag not in tags:
        raise UnknownName(f"weights of {spec.key}", tag, tags)
    return tags[tag]


def path(spec: ModelSpec, published: WeightSource) -> Path:
    """The file in the cache, whether it is there or not."""
    suffix = re.search(r"(\.pth)?\.\w+$", published.url)[0]
    return fetch.cache_folder() / "weights" / spec.key / f"{published.tag}{suffix}"


def record(spec: ModelSpec, published: WeightSource) -> fetch.Record | None:
    """What is known of the file in the cache, without reading it; None where it is not there."""
    return fetch.record(path(spec, published), published.url, published.digest)


def check(spec: ModelSpec, published: WeightSource) -> fetch.Record | None:
    """The same, once all of the file was read; None too where its digest is not right."""
    return fetch.check(path(spec, published), published.url, published.digest)


def obtain(
    spec: ModelSpec,
    published: WeightSource,
    *,
    on_bytes: Callable[[int, int | None], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> fetch.Record:
    """See to it that the file is in the cache and right; see `fetch.fetch`. Raises DownloadFailed."""
    target = path(spec, published)
    return fetch.fetch(published.url, target, digest=published.digest, on_bytes=on_bytes, on_note=on_note)
