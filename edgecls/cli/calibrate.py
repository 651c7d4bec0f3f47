"""`edgecls calibrate`."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgecls import artifact, pretrained
from edgecls.cli.progress import Bar
from edgecls.errors import WorkFailed
from edgecls.exporters import calibration as calibrations
from edgecls.text import table

calibrate = typer.Typer(
    help="Pictures that int8 takes its ranges from.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@calibrate.callback()
def _group() -> None:
    pass


@calibrate.command()
def check(
    target: Annotated[str, typer.Argument(metavar="NAME|FILE", help="An architecture, or a float model.")],
    calibration: Annotated[
        str, typer.Option(metavar="DIR|LIST|FILE.npy|synthetic", help="The pictures.", show_default=False)
    ],
    samples: Annotated[
        int | None, typer.Option(help=f"How many of them; {calibrations.SAMPLES}.", show_default=False)
    ] = None,
    calibration_method: Annotated[
        str, typer.Option(metavar="|".join(calibrations.METHODS), help="How ranges are found in their values.")
    ] = calibrations.METHOD,
    format: Annotated[str | None, typer.Option(help="tflite or onnx.", show_default=False)] = None,
    weights: Annotated[str, typer.Option(help="Weights of an architecture.")] = pretrained.AUTO,
    preprocess: Annotated[
        list[str] | None, typer.Option(help="How pictures become a model file's input.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of random weights and the choice of pictures.")] = 0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the float file is, or goes.")] = Path(artifact.FOLDER),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with everything known.")] = False,
) -> None:
    """Quantize with two halves of the pictures, and see whether they make the same file.

    Exit code 1 where something is wrong with the pictures.
    """
    from edgecls.verbs.calibrate import check_calibration

    with Bar() as bar:
        found = check_calibration(
            target,
            calibration=calibration,
            samples=samples,
            calibration_method=calibration_method,
            format=format,
            weights=weights,
            preprocess=preprocess,
            seed=seed,
            out=out,
            on_stage=lambda stage: bar.show(stage.what, stage.done, stage.total),
            on_note=bar.note,
        )
    print(json.dumps(dataclasses.asdict(found), indent=1) + "\n" if as_json else _shown(found), end="")
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if found.warnings:
        raise WorkFailed(f"{calibration}: these pictures are not fit to calibrate with, see the warnings")
    said = [part for value in preprocess or () for part in ("--preprocess", value)]
    following = ["edgecls", "export", target, *said, "--int8", "--calibration", calibration]
    print("next:", shlex.join(following), file=sys.stderr)


def _shown(found) -> str:
    from edgecls.verbs.calibrate import IDENTICAL_DB

    info, same = found.info, found.between_db >= IDENTICAL_DB
    rows = [
        ("pictures", f"{info.count} of {info.source}, {found.distinct} of them distinct"),
        ("digest", info.digest[:12]),
        *([("pixels", _spread(info.pixels))] if info.pixels else []),
        ("input", _spread(info.inputs)),
        ("first half, int8 against float", f"{found.first_db:.1f} dB"),
        ("second half, int8 against float", f"{found.second_db:.1f} dB"),
        ("halves against each other", "identical" if same else f"{found.between_db:.1f} dB"),
        ("ranges differ by", f"{found.ratio:.2f} times at most, in {found.tensor}"),
        ("judged on", found.judged_on),
    ]
    return table(("what", "found"), rows, numeric=(False, False), styled=sys.stdout.isatty())


def _spread(spread) -> str:
    return f"{spread.min:.4g}..{spread.max:.4g}, mean {spread.mean:.3g}, deviation {spread.std:.3g}"
