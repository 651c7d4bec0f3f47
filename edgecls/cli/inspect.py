"""`edgecls inspect`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgecls import artifact
from edgecls.cli.progress import Bar
from edgecls.text import table


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A quantized .tflite or .onnx file.")],
    pictures: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|LIST|FILE.npy|synthetic",
            help="Pictures to run layers on; those that export kept beside the file if none.",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Take so many pictures; 8 if not said.", show_default=False)] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The float file that it was made of, where it is not beside.", show_default=False),
    ] = None,
    preprocess: Annotated[
        list[str] | None,
        typer.Option(
            metavar="tf|torch|caffe|unit|none|like:NAME|KEY=VALUE",
            help="How pictures become the input of files from elsewhere, as for export. May be repeated.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Print all layers, in the order of the graph.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="OUT.html", help="Write a page with a bar for each layer.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a record with everything known.")] = False,
) -> None:
    """Find the layers of a quantized file in which it loses what its float model has.

    Own dB is the SQNR of a layer that is given the float model's values, rounded as the file keeps them; in
    all dB that of the same layer in the file, with the errors of all layers before. Worst first by own dB.
    Levels used is the share of its type's values that occurred; clipped the share of the float model's
    values that lie beyond the range; widest channel how much wider it is than the median one.
    """
    from edgecls.inspection.page import figures_of, page
    from edgecls.verbs import inspect as verb

    if html is not None:
        artifact.check_writable(html.parent, "--html")
    with Bar() as bar:
        found = verb.inspect(
            file,
            pictures=pictures,
            samples=verb.PICTURES if samples is None else samples,
            against=against,
            preprocess=preprocess,
            on_picture=lambda done, total: bar.show(file.name, done, total),
            on_note=bar.note,
        )
    about = f"against {found.against}: {found.samples} pictures; {found.pictures}"
    if html is not None:
        said = [about, *found.notes, *([found.finding] if found.finding else ["no layer loses much"])]
        with artifact.writing(html) as out:
            out.write(page(Path(found.file).name, said, found.cure, found.layers, found.fault))
    if as_json:
        print(json.dumps(dataclasses.asdict(found), indent=1))
        return
    shown = found.layers if every else found.worst[:_SHOWN]
    rows = [(one.layer, one.op, *figures_of(one)) for one in shown]
    print(table(_HEADERS, rows, numeric=_NUMERIC, styled=sys.stdout.isatty()), end="")
    if more := len(found.layers) - len(rows):
        print(f"{more} more layers: --all")
    for line in (about, *found.notes, found.finding or "no layer loses much", *([found.cure] if found.cure else [])):
        print(line)


#: Layers that are printed, unless all are wanted.
_SHOWN = 12
_HEADERS = ("layer", "op", "own dB", "in all dB", "type", "scale", "zero point", "levels used", "clipped", "widest channel")
_NUMERIC = (False, False, True, True, False, True, True, True, True, True)
