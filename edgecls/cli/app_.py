"""`edgecls app`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecls.cli.progress import Bar

app_ = typer.Typer(
    help="Make an example program around a model file, the model, labels and preprocessing in place.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

_Model = Annotated[
    Path, typer.Option(metavar="FILE", help="A .tflite file of float32 or uint8 input and output.")
]
_Out = Annotated[Path, typer.Option(metavar="DIR", help="A new folder.")]
_Labels = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|imagenet|cifar10",
        help="Names of the outputs, one a line, where the file does not say them.",
        show_default=False,
    ),
]
_Preprocess = Annotated[
    list[str] | None,
    typer.Option(
        metavar="tf|torch|caffe|unit|none|like:NAME|KEY=VALUE",
        help="How pictures become the input of a file from elsewhere, as for export. May be repeated.",
        show_default=False,
    ),
]
_Force = Annotated[bool, typer.Option("--force", help="Replace a folder that has files of your own.")]


@app_.command()
def web(
    model: _Model,
    out: _Out,
    labels: _Labels = None,
    preprocess: _Preprocess = None,
    js_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where `npm pack` put LiteRT.js; downloaded from npm if not said.",
            show_default=False,
        ),
    ] = None,
    force: _Force = False,
) -> None:
    """Make a web page that classifies pictures from a file, a drop or the camera, on the device.

    Static files that need no build and ask nobody at run time. The model runs in LiteRT.js; pictures become
    its input exactly as edgecls has it, so that the page answers as the Python runtime does.
    """
    from edgecls.verbs import app as verb

    with Bar() as bar:
        verb.web(
            model,
            out,
            labels=labels,
            preprocess=preprocess,
            js_dir=js_dir,
            force=force,
            on_bytes=lambda done, total: bar.show("LiteRT.js, kB", done // 1000, (total or 0) // 1000),
            on_note=bar.note,
        )
    _tell(out, model, f"python3 {out / 'serve.py'}, and open the address that it prints")


@app_.command()
def android(
    model: _Model,
    out: _Out,
    labels: _Labels = None,
    preprocess: _Preprocess = None,
    force: _Force = False,
) -> None:
    """Make an Android project (Kotlin, Gradle) that classifies pictures on the phone.

    The model runs in LiteRT. Its README says what of it could be tried here and what could not.
    """
    from edgecls.verbs import app as verb

    with Bar() as bar:
        verb.android(model, out, labels=labels, preprocess=preprocess, force=force, on_note=bar.note)
    _tell(out, model, f"open {out} in Android Studio")


def _tell(out: Path, model: Path, following: str) -> None:
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    whole, part = (f"{count / 1e6:.1f}" for count in (size, model.stat().st_size))
    print(f"{out}: {whole} MB, {part} of it the model; README.md tells of it")
    print(f"next: {following}")
