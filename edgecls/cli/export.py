"""`edgecls export`."""

from __future__ import annotations

import shlex
import sys
import threading
from itertools import product
from pathlib import Path
from typing import Annotated

import typer

from edgecls import artifact, pretrained
from edgecls.cli.words import words
from edgecls.errors import Disagreement
from edgecls.exporters import calibration as calibrations
from edgecls.exporters.lowerings import LOWERINGS
from edgecls.exporters.recipe import FORMATS, IO_TYPES
from edgecls.text import table


def export(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|FILE...",
            help="Architectures, or models: .keras, .h5, a SavedModel folder, a float .tflite or .onnx.",
        ),
    ],
    int8: Annotated[bool, typer.Option("--int8", help="Quantize to integers too: --recipe int8.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Store in half precision too: --recipe fp16.")] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="What to make too, by commas; `edgecls recipes` explains each.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        str | None, typer.Option(help=f"Formats, by commas; {','.join(FORMATS)} by default.", show_default=False)
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            metavar="auto|imagenet[:TAG]|random|FILE",
            help="Weights of an architecture: published ones (`edgecls weights list`), untrained ones, or your own. "
            "auto takes published ones, and untrained ones where there are none or they cannot be had.",
        ),
    ] = pretrained.AUTO,
    calibration: Annotated[
        str,
        typer.Option(metavar="DIR|LIST|FILE.npy|synthetic", help="Pictures to take the ranges of int8 from."),
    ] = calibrations.SYNTHETIC,
    samples: Annotated[
        int | None,
        typer.Option(
            help=f"How many of them; {calibrations.SAMPLES}, synthetic {calibrations.SYNTHETIC_SAMPLES}.",
            show_default=False,
        ),
    ] = None,
    calibration_method: Annotated[
        str, typer.Option(metavar="|".join(calibrations.METHODS), help="How ranges are found in their values.")
    ] = calibrations.METHOD,
    preprocess: Annotated[
        list[str] | None,
        typer.Option(
            metavar="tf|torch|caffe|unit|none|like:NAME|KEY=VALUE",
            help="How pictures become a model file's input: a name, KEY=VALUE on top of it, or mean and std with "
            "others. Keys are mean and std (of pixels 0..255; of 0..1 where std is below 1), color, resize, crop, "
            "interpolation. May be repeated.",
            show_default=False,
        ),
    ] = None,
    custom: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:NAME",
            help="A class or function of your own in a Keras file; MODULE is imported, from this folder first. "
            "May be repeated.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="FILE|imagenet|cifar10", help="Names of the classes, one a line.", show_default=False),
    ] = None,
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="Run code that is in a Keras file, such as Lambda layers.")
    ] = False,
    classes: Annotated[int | None, typer.Option(help="Classes of an architecture.", show_default=False)] = None,
    input_size: Annotated[int | None, typer.Option(help="Its input size, pixels; of a file too that leaves it open.", show_default=False)] = None,
    io: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(IO_TYPES),
            help="Ends of int8 graphs; uint8 for .tflite, float32 for .onnx.",
            show_default=False,
        ),
    ] = None,
    per_tensor: Annotated[
        bool, typer.Option("--per-tensor", help="One scale for each tensor of int8 weights; they are equalised before.")
    ] = False,
    no_lowering: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help=f"Rewrites for speed to leave out, by commas: {', '.join(LOWERINGS)}.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of random weights and the choice of pictures.")] = 0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where NAME/NAME-PRECISION.FORMAT goes.")] = Path(
        artifact.FOLDER
    ),
    force: Annotated[bool, typer.Option("--force", help="Make files again that are up to date.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what converters print.")] = False,
) -> None:
    """Make .tflite and .onnx files, each checked against the model it was made from.

    The float file is always made: the others are made of it and judged by it.
    """
    from edgecls.verbs import export as verb  # has numpy, which --help need not wait for

    done: list[tuple[artifact.Artifact, bool]] = []
    with _Progress(shown=sys.stderr.isatty() and not verbose) as progress:
        try:
            verb.export(
                targets,
                formats=words(format),
                precisions=[*["fp16"] * fp16, *["int8"] * int8, *(words(recipe) or ())] or ["fp32"],
                weights=weights,
                calibration=calibration,
                samples=samples,
                calibration_method=calibration_method,
                out=out,
                classes=classes,
                input_size=input_size,
                preprocess=preprocess,
                custom=custom or (),
                unsafe=unsafe,
                labels=labels,
                io=io,
                per_tensor=per_tensor,
                no_lowering=words(no_lowering) or (),
                seed=seed,
                force=force,
                verbose=verbose,
                on_stage=progress.show,
                on_note=progress.note,
                on_artifact=lambda made, was_made: done.append((made, was_made)),
            )
        finally:
            progress.close()
            _report(done, progress.said)
    wrong = [made.path.name for made, _ in done if not made.manifest.agreement.passed]
    if wrong:
        raise Disagreement(f"{', '.join(wrong)}: does not agree with the float model; see `notes` in its manifest")
    print(f"next: {_next([made for made, _ in done], out)}", file=sys.stderr)


def _next(done, out):
    """Architectures go by name where all is there that `profile` measures of them."""
    from edgecls.verbs.profile import DEFAULT_PRECISIONS

    named, where = [], []
    for folder in dict.fromkeys(made.path.parent for made in done):
        files = [made for made in done if made.path.parent == folder]
        made = {(one.manifest.format, one.manifest.precision) for one in files}
        if files[0].manifest.model.source != "file" and made >= set(product(FORMATS, DEFAULT_PRECISIONS)):
            named.append(folder.name)
            where = [] if out == Path(artifact.FOLDER) else ["--artifacts", str(out)]
        else:
            named += [str(one.path) for one in files]
    return shlex.join(["edgecls", "profile", *named, *where])


def _report(done, said):
    if not done:
        return
    notes = dict.fromkeys(note for made, _ in done for note in made.manifest.notes)
    print(table(_HEADERS, [_row(done, *entry) for entry in done], numeric=_NUMERIC, styled=sys.stdout.isatty()), end="")
    for note in notes:
        if note not in said:
            print(f"note: {note}", file=sys.stderr)


_HEADERS = ("file", "weights", "MB", "of float", "SQNR dB", "top-1 same", "verdict", "seconds")
_NUMERIC = (False, False, True, True, True, True, False, True)


def _row(done, made, was_made):
    manifest = made.manifest
    floats = {m.path.parent / m.manifest.format: m.manifest.bytes for m, _ in done if m.manifest.precision == "fp32"}
    agreement = manifest.agreement
    return (
        str(made.path),
        _weights(manifest.weights),
        f"{manifest.bytes / 1e6:.2f}",
        f"{manifest.bytes / floats[made.path.parent / manifest.format]:.2f}",
        "identical" if agreement.sqnr_db is None else f"{agreement.sqnr_db:.1f}",
        f"{100 * agreement.top1:.0f}%",
        agreement.verdict,
        f"{manifest.seconds:.1f}" if was_made else "up to date",
    )


def _weights(info):
    return (info.tag or Path(info.source).name) if info.trained else "untrained"


class _Progress:
    """One line per model and format where it is `shown`; notes in any case."""

    def __init__(self, *, shown):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[model]}"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            console=Console(stderr=True, soft_wrap=True),
            transient=True,
            disable=not shown,
        )
        self._tasks: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        self.said: set[str] = set()

    def __enter__(self):
        self._bars.start()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._bars.stop()

    def show(self, stage):
        with self._lock:
            key = (stage.model, stage.format)
            if key not in self._tasks:
                self._tasks[key] = self._bars.add_task("", total=None, model=f"{stage.model} {stage.format}")
            self._bars.update(
                self._tasks[key], description=stage.what, completed=stage.done, total=stage.total or None
            )

    def note(self, text):
        self.said.add(text)
        self._bars.console.print(f"note: {text}", markup=False, highlight=False)
