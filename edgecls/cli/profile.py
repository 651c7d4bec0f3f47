"""`edgecls profile`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgecls import artifact, reports
from edgecls.cli.words import words
from edgecls.errors import UnknownName, UsageError
from edgecls.profiling import Settings
from edgecls.runtimes import RUNTIMES
from edgecls.verbs import profile as verb


def profile(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME|FILE",
            help="Architectures, and .tflite or .onnx files from anywhere; a set of seven if none.",
        ),
    ] = None,
    runtime: Annotated[str, typer.Option(help="Runtimes, by commas.")] = ",".join(RUNTIMES),
    precision: Annotated[
        str | None,
        typer.Option(
            help=f"Precisions, by commas; {','.join(verb.DEFAULT_PRECISIONS)} for architectures.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of the runtime.")] = Settings.threads,
    runs: Annotated[int, typer.Option(help="Measure at least as many runs,")] = Settings.runs,
    min_seconds: Annotated[float, typer.Option(help="and for at least as long.")] = Settings.min_seconds,
    warmup: Annotated[int, typer.Option(help="Runs before those, at least; 0 for none.")] = Settings.warmup,
    format: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(reports.FORMATS)}; by default what --out ends in, else table.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report there.")] = None,
    artifacts: Annotated[
        Path, typer.Option(metavar="DIR", help="Where exported files are, and profiles.jsonl.")
    ] = Path(artifact.FOLDER),
) -> None:
    """Measure time and memory of models, each in a process of its own, one after the other.

    What is missing is exported first. Interrupted, the same call goes on where it was.
    """
    format = _format(format, out)
    if out is not None:
        _check_writable(out)

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=2,  # little work beside the measurement
        disable=not sys.stderr.isatty(),
    )
    with progress:
        task = progress.add_task("", total=None)
        profiles = verb.profile(
            targets or (),
            runtimes=words(runtime),
            precisions=words(precision),
            threads=threads,
            runs=runs,
            min_seconds=min_seconds,
            warmup=warmup,
            artifacts=artifacts,
            on_step=lambda step: progress.update(
                task, description=step.what, completed=step.number, total=step.total
            ),
            on_note=lambda note: progress.console.print(
                f"edgecls: {note}", markup=False, highlight=False, emoji=False, soft_wrap=True
            ),
        )
    if out is None:
        sys.stdout.write(reports.render(profiles, format, styled=sys.stdout.isatty()))
    else:
        with artifact.writing(out) as file:
            file.write(reports.render(profiles, format))
    if any(profile.error or profile.subject.cost is None for profile in profiles):
        raise typer.Exit(1)


def _format(format: str | None, out: Path | None) -> str:
    if format is None:
        suffix = out.suffix.removeprefix(".").lower() if out else ""
        return suffix if suffix in reports.FORMATS else "table"
    if format not in reports.FORMATS:
        raise UnknownName("report format", format, reports.FORMATS)
    return format


def _check_writable(out: Path) -> None:
    if out.is_dir() or not out.parent.is_dir():
        raise UsageError(f"--out must be a file in a folder that exists, got {str(out)!r}")
    artifact.check_writable(out.parent)
