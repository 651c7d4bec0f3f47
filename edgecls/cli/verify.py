"""`edgecls verify`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgecls.cli.progress import Bar
from edgecls.errors import Disagreement
from edgecls.text import table


def verify(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help=".tflite and .onnx files, exported here or elsewhere."),
    ],
    pictures: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|LIST|FILE.npy|synthetic",
            help="Pictures to compare on; those that export kept beside the file if none.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Compare with this file, not with the float model.", show_default=False
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
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of records.")] = False,
) -> None:
    """Compare files with the float models they were made from, or with another file.

    Prints the signal to quantization noise ratio of the logits (SQNR), the cosine, the largest
    difference in standard deviations of the float logits, on how many pictures the best class is the
    same, how many of the five best are, the divergence of the probabilities in nats (KL), and a
    verdict: OK, CAUTION or BROKEN. Exit code 1 where a file is BROKEN.
    """
    from edgecls.verbs import verify as verb

    with Bar() as bar:
        found = verb.verify(
            files,
            pictures=pictures,
            against=against,
            preprocess=preprocess,
            on_picture=bar.show,
            on_note=bar.note,
        )
    if as_json:
        print(json.dumps([dataclasses.asdict(one) for one in found], indent=1))
    else:
        rows = [_row(one) for one in found]
        print(table(_HEADERS, rows, numeric=_NUMERIC, styled=sys.stdout.isatty()), end="")
        for line in dict.fromkeys(f"against {one.against}: {one.agreement.pictures}" for one in found):
            print(line)
        for one in found:
            for line in _remarks(one):
                print(f"{Path(one.file).name}: {line}")
    broken = [Path(one.file).name for one in found if one.agreement.verdict == "BROKEN"]
    if broken:
        raise Disagreement(f"{', '.join(broken)}: BROKEN")


#: Smaller shares of values beyond a tensor's range are in the JSON alone.
_TOLD = 0.001
_HEADERS = ("file", "SQNR dB", "cosine", "max error", "top-1 same", "top-5 same", "KL nats", "verdict")
_NUMERIC = (False, True, True, True, True, True, True, False)


def _row(one):
    found = one.agreement
    return (
        one.file,
        "identical" if found.sqnr_db is None else f"{found.sqnr_db:.1f}",
        f"{found.cosine:.4f}",
        f"{found.max_error:.2g}",
        f"{100 * found.top1:.0f}%",
        f"{100 * found.top5:.0f}%",
        f"{found.kl:.2g}",
        found.verdict,
    )


def _remarks(one):
    if one.agreement.verdict != "OK":
        yield f"{one.agreement.verdict}: {one.agreement.reason}"
    cut = {name: share for name, share in one.agreement.saturation.items() if share >= _TOLD}
    if cut:
        yield "beyond their range: " + ", ".join(
            f"{100 * share:.1f}% of {_short(name)}" for name, share in cut.items()
        )
    if one.next_step:
        yield one.next_step


def _short(tensor):
    """A .tflite names a tensor by all the layers that were folded into it."""
    return tensor.split(";")[0]
