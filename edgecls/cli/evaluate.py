"""`edgecls evaluate`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgecls.cli.progress import Bar
from edgecls.text import table

#: Classes that are shown of each file, and what each is taken for.
_WORST, _TAKEN_FOR = 5, 3


def evaluate(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help=".tflite and .onnx files, exported here or elsewhere."),
    ],
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR|LIST",
            help="Pictures: a folder for each class (ImageNet's are known), or a list of paths and classes.",
        ),
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|imagenet|cifar10",
            help="Names of the model's outputs, one a line; of a folder of pictures, the class of each.",
            show_default=False,
        ),
    ] = None,
    preprocess: Annotated[
        list[str] | None,
        typer.Option(
            metavar="tf|torch|caffe|unit|none|like:NAME|KEY=VALUE",
            help="How pictures become the input of files from elsewhere, as for export. May be repeated.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(help="Processes side by side; one for each core if not said.", show_default=False),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Take so many pictures, evenly spread.", show_default=False)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a list of records, with all classes.")
    ] = False,
) -> None:
    """Measure how often files are right on labelled pictures: top-1 and top-5 with their 95 % intervals.

    The worst classes are named, with what they are taken for. Of several files each is compared with
    the first, on the same pictures, by McNemar's test. What is done is kept: interrupted, the same call
    goes on where it was.
    """
    from edgecls.verbs import evaluate as verb

    with Bar() as bar:
        found = verb.evaluate(
            files,
            data=data,
            labels=labels,
            preprocess=preprocess,
            jobs=jobs,
            limit=limit,
            on_picture=lambda done, total: bar.show("pictures", done, total),
            on_note=bar.note,
        )
    if as_json:
        print(json.dumps([dataclasses.asdict(one) for one in found], indent=1))
        return
    print(table(_HEADERS, [_row(one) for one in found], numeric=_NUMERIC, styled=sys.stdout.isatty()), end="")
    for line in dict.fromkeys(one.assumed for one in found if one.assumed):
        print(line)
    for one in found:
        name = Path(one.file).name
        if one.difference:
            print(f"{name}: {one.difference}")
        worst = [share for share in one.classes if share.taken_for][:_WORST]
        if worst:
            print(f"worst classes of {name}:")
        for share in worst:
            taken = ", ".join(f"{often} {other}" for other, often in [*share.taken_for.items()][:_TAKEN_FOR])
            print(f"  {share.name}: {share.top1.right} of {share.top1.count} right, taken for {taken}")


_HEADERS = ("file", "pictures", "top-1", "95 %", "top-5", "95 %")
_NUMERIC = (False, True, True, True, True, True)


def _row(one):
    return (one.file, str(one.top1.count), *_share(one.top1), *_share(one.top5))


def _share(share):
    """Of a hundred, and the ends of the interval."""
    return (
        (f"{100 * share.share:.1f}", f"{100 * share.low:.1f} to {100 * share.high:.1f}")
        if share
        else ("-", "-")
    )
