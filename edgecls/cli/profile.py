"""`edgecls profile`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgecls import artifact, reports
from edgecls.cli.words import words
from edgecls.devices import adb
from edgecls.devices.benchmark import COOL_SECONDS
from edgecls.devices.tools import DELEGATES
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
    runtime: Annotated[
        str | None, typer.Option(help=f"Runtimes, by commas; {','.join(RUNTIMES)}.", show_default=False)
    ] = None,
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
    device: Annotated[
        bool,
        typer.Option(
            "--device",
            help="Measure .tflite files on a phone, by adb: the one whose serial is among the names, "
            "or the only one.",
        ),
    ] = False,
    benchmark_bin: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="With --device: your copy of benchmark_model.", show_default=False),
    ] = None,
    delegate: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(DELEGATES),
            help=f"With --device: what runs the graph; {DELEGATES[0]}.",
            show_default=False,
        ),
    ] = None,
    cool: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help=f"With --device: so long may the phone cool down before a file; {COOL_SECONDS:.0f}.",
            show_default=False,
        ),
    ] = None,
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

    What is missing is exported first. Interrupted, the same call goes on where it was. With --device the
    phone measures, by a benchmark tool of yours, and what this computer measured of the same files stands
    beside it.
    """
    format = _format(format, out)
    if out is not None:
        _check_writable(out)
    targets, serial = _phone(targets or [], benchmark_bin) if device else (targets, None)
    for option, value in (("--benchmark-bin", benchmark_bin), ("--delegate", delegate), ("--cool", cool)):
        if value is not None and not device:
            raise UsageError(f"{option} is for phones; add --device")

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
            device=serial,
            benchmark_bin=benchmark_bin,
            delegate=delegate or DELEGATES[0],
            cool_seconds=COOL_SECONDS if cool is None else cool,
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


def _phone(targets: list[str], benchmark_bin: Path | None) -> tuple[list[str], str | bool]:
    """What to measure, and the phone that is named among it; True for the only one."""
    if benchmark_bin is None:  # before a phone is asked for
        return targets, True
    serials = {one.serial for one in adb.listed()}
    named = [target for target in targets if target in serials]
    if len(named) > 1:
        raise UsageError(f"one phone at a time is measured on, got {', '.join(named)}")
    return [target for target in targets if target not in serials], named[0] if named else True


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
