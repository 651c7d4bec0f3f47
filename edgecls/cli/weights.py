"""`edgecls weights`: the published weights and their cache."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

import typer

from edgecls import fetch as downloads
from edgecls import pretrained, registry
from edgecls.cli.progress import Transfers
from edgecls.errors import DownloadFailed, WorkFailed
from edgecls.spec import ModelSpec, WeightSource
from edgecls.text import table

weights = typer.Typer(
    help="Published weights: list them, and manage those that are in the cache.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

_Patterns = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Names or globs such as 'mobilenet*'.")
]
_ONE = "The default weights of a row, or those of a tag."
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, with everything known.")]


@weights.command("list")
def list_(patterns: _Patterns = None, as_json: _AsJson = False) -> None:
    """List published weights, defaults first.

    top-1 and top-5 are % of ImageNet (of CIFAR-10 for rows of CIFAR), as the source reports them. digest
    is what a download is held against; where none is published the server's own sha256, or that of the first
    download, which are shown once it is there.
    """
    listed = [(row, one, pretrained.record(row, one)) for row, one in _published(patterns)]
    if not listed:
        _note("nobody publishes weights that fit them")
    if as_json:
        print(json.dumps([_record(*each) for each in listed], indent=1))
    else:
        cells = [
            (
                _name(row, one),
                _accuracy(one.top1),
                _accuracy(one.top5),
                one.licence or "-",
                _digest(one, found),
                f"{found.bytes / 1e6:.2f}" if found else "-",
            )
            for row, one, found in listed
        ]
        headers = ("weights", "top-1", "top-5", "licence", "digest", "cached MB")
        _print(headers, cells, numeric=(False, True, True, False, False, True))


@weights.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME[:TAG]...", help=_ONE)],
) -> None:
    """Download published weights.

    They go to the cache: edgecls's folder where the platform keeps caches, or EDGECLS_CACHE. What is there
    and right is not downloaded again; what was cut off goes on where it was.
    """
    wanted = [_find(name) for name in names]
    cells, failures = [], []
    with Transfers() as transfers:
        for row, one in wanted:
            name = _name(row, one)
            try:
                found = pretrained.obtain(row, one, on_bytes=partial(transfers.show, name), on_note=transfers.note)
            except DownloadFailed as error:
                if len(wanted) == 1:
                    raise
                _note(str(error))
                failures.append(error)
            else:
                file = str(pretrained.path(row, one))
                cells.append((name, f"{found.bytes / 1e6:.2f}", _digest(one, found), file))
    _print(("weights", "MB", "digest", "file"), cells, numeric=(False, True, False, False))
    if failures:
        raise WorkFailed(f"{len(failures)} of {len(wanted)} downloads failed") from failures[0]


@weights.command()
def path(
    name: Annotated[str, typer.Argument(metavar="NAME[:TAG]", help=_ONE)],
) -> None:
    """Print where in the cache a file is or belongs.

    A file that other hands put there is taken too, if its digest is right.
    """
    row, one = _find(name)
    print(pretrained.path(row, one))
    if not pretrained.path(row, one).is_file():
        raise WorkFailed(f"not there yet; `edgecls weights fetch {name}` downloads {one.url}")


@weights.command()
def verify(patterns: _Patterns = None, as_json: _AsJson = False) -> None:
    """Read again what is in the cache, and hold it against its digests."""
    cached = [(row, one) for row, one in _published(patterns) if pretrained.path(row, one).is_file()]
    checked = [(row, one, pretrained.check(row, one)) for row, one in cached]
    if as_json:
        print(json.dumps([_record(*each) | {"right": each[2] is not None} for each in checked], indent=1))
    else:
        cells = []
        for row, one, found in checked:
            state = "right" if found else "WRONG"
            cells.append((_name(row, one), state, _digest(one, found), str(pretrained.path(row, one))))
        _print(("weights", "is", "digest", "file"), cells, numeric=(False, False, False, False))
    if not checked:
        _note(f"none of them is in {str(downloads.cache_folder())!r}")
    if wrong := [_name(row, one) for row, one, found in checked if not found]:
        advice = f"`edgecls weights fetch {' '.join(wrong)}` downloads anew"
        raise WorkFailed(f"{len(wrong)} of {len(checked)} are not what was published; {advice}")


def _published(patterns: list[str] | None) -> Iterator[tuple[ModelSpec, WeightSource]]:
    for row in registry.select(patterns or ()):
        for one in row.weights:
            yield row, one


def _find(text: str) -> tuple[ModelSpec, WeightSource]:
    """NAME or NAME:TAG. Raises UnknownName, UsageError."""
    name, colon, tag = text.partition(":")
    row = registry.get(name)
    wanted = f"{pretrained.IMAGENET}:{tag}" if colon else pretrained.IMAGENET
    return row, pretrained.choose(row, wanted, classes=row.classes).published


def _name(row: ModelSpec, one: WeightSource) -> str:
    return f"{row.key}:{one.tag}"


def _accuracy(share: float | None) -> str:
    return "-" if share is None else f"{share:.1f}"


def _digest(one: WeightSource, found: downloads.Record | None) -> str:
    """What the file is held against, in words."""
    published = found.published if found else one.digest
    if published is None:
        return f"first download: {found.sha256[:8]}" if found else "-"
    algorithm, _, digits = published.partition(":")
    return algorithm if len(digits) >= 32 else f"{algorithm}, {len(digits)} digits"


def _record(row: ModelSpec, one: WeightSource, found: downloads.Record | None) -> dict[str, Any]:
    return {
        "name": row.key,
        "default": one is row.weights[0],
        **dataclasses.asdict(one),
        "path": str(pretrained.path(row, one)),
        "cached": found and dataclasses.asdict(found),
    }


def _print(headers, cells, *, numeric) -> None:
    if cells:
        print(table(headers, cells, numeric=numeric, styled=sys.stdout.isatty()), end="")


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
