"""Measure architectures and files, one after the other."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecls import __version__, artifact, pretrained, profiling, registry
from edgecls import runtimes as runtime_table
from edgecls.devices import adb
from edgecls.devices.adb import Phone
from edgecls.devices.benchmark import COOL_SECONDS, Bench
from edgecls.devices.tools import DELEGATES, WHERE, Tool, recognise
from edgecls.errors import BadFile, UnknownName, UsageError, WorkFailed
from edgecls.exporters.recipe import PRECISIONS, precisions_of, recipe_for
from edgecls.profiling import Profile, Settings, Subject
from edgecls.profiling.store import Store
from edgecls.runtimes import Runtime

#: What is profiled when nothing is named: light against heavy.
DEFAULT_MODELS = (
    "mobilenet_v3_small",
    "shufflenet_v2_x1_0",
    "mobilenet_v2",
    "efficientnet_b0",
    "resnet50",
    "inception_v3",
    "vgg16",
)
DEFAULT_PRECISIONS = ("fp32", "int8")
#: The runtime that benchmark tools on phones have.
ON_PHONES = "litert"


@dataclass(frozen=True)
class Step:
    """Step `number` (from 0) of `total`, as it begins, in words."""

    number: int
    total: int
    what: str


@dataclass(frozen=True)
class _Case:
    """A file to measure; error: why there is nothing to measure."""

    path: Path
    subject: Subject
    error: str | None = None

    @property
    def runtime(self) -> str:
        return runtime_table.for_file(self.path).name

    @property
    def key(self) -> tuple[str, str | None, str]:
        """What a measurement of this case and no other has."""
        return self.subject.file, self.subject.sha256, self.runtime

    def __str__(self):
        return f"{self.subject.model} {self.subject.precision} on {self.runtime}"


def profile(
    targets: str | Path | Iterable[str | Path] = (),
    *,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    threads: int = Settings.threads,
    runs: int = Settings.runs,
    min_seconds: float = Settings.min_seconds,
    warmup: int = Settings.warmup,
    device: str | bool | None = None,
    benchmark_bin: str | Path | None = None,
    delegate: str = DELEGATES[0],
    cool_seconds: float = COOL_SECONDS,
    artifacts: str | Path = artifact.FOLDER,
    on_step: Callable[[Step], None] = lambda step: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> list[Profile]:
    """Measure each target in a fresh child process, one at a time.

    targets: names of architectures, whose artifacts are exported where they are missing, and
        `.tflite` or `.onnx` files from anywhere; the default set where there are none.
    runtimes: "litert", "ort"; all by default. precisions: of named architectures, fp32 and int8 by
        default; a file must be of one of them where they are given.
    threads, runs, min_seconds, warmup: see `profiling.Settings`.
    device: measure on the phone of this serial, True the only one, with the tool `benchmark_bin`, see
        `devices.tools`; .tflite only. delegate: of `tools.DELEGATES`. cool_seconds: what the phone may take
        before a file to cool down. What this computer measured of the same files before is returned too.
    artifacts: the folder of exported artifacts. Every profile is added to its `profiles.jsonl`;
        a call that was interrupted goes on where it was when it is repeated.
    on_note is given what a user must be told, in words.

    What fails has its reason in `Profile.error`; the others go on.
    Raises UnknownName, BadFile, UsageError before any work.
    """
    settings = Settings(threads=threads, runs=runs, min_seconds=min_seconds, warmup=warmup)
    tool = None if device is None else _tool(benchmark_bin, delegate, cool_seconds)
    chosen = [
        runtime_table.get(name) for name in runtimes or (tool and [ON_PHONES]) or runtime_table.RUNTIMES
    ]
    if tool and [runtime.name for runtime in chosen] != [ON_PHONES]:
        raise UsageError(f"on a phone {ON_PHONES} alone is measured, got --runtime {', '.join(runtimes)}")
    for precision in precisions or ():
        if precision not in PRECISIONS:
            raise UnknownName("precision", precision, PRECISIONS)
    targets = [targets] if isinstance(targets, (str, Path)) else list(targets)
    names, files = _sort_out(targets or DEFAULT_MODELS)
    cases = [_given(path, chosen, precisions) for path in files]
    needed = chosen if names else [runtime_table.for_file(path) for path in files]
    versions = {runtime.name: runtime.version for runtime in needed}
    folder = Path(artifacts)
    artifact.check_writable(folder, "--artifacts")
    bench = None
    if tool:
        phone = Phone(adb.choose(None if device is True else device).serial)
        options = {
            "delegate": delegate,
            "cool_seconds": cool_seconds,
            "logs": folder / "logs",
            "on_note": on_note,
        }
        bench = Bench(phone, tool, **options)
    precisions = precisions or DEFAULT_PRECISIONS
    for precision in precisions:
        if names and precision not in precisions_of(runtime.format for runtime in chosen):
            recipe_for(chosen[0].format, precision)  # raises
    recipes = [each for runtime in chosen for each in precisions_of([runtime.format]) if each in precisions]
    total = len(cases) + len(names) * (1 + len(recipes))
    for number, name in enumerate(names):
        on_step(Step(number, total, f"export {name}"))
        cases += _exported(name, chosen, precisions, folder, on_note)

    store = Store(folder)
    if bench:
        store.read()  # what this computer measured is asked for in the end
    place = bench.key if bench else []
    plan = json.dumps(
        [__version__, versions, dataclasses.asdict(settings), place, [case.key for case in cases]]
    )
    run = store.begin(hashlib.sha256(plan.encode()).hexdigest())
    for note in run.notes:
        on_note(note)
    if run.measured:
        done = f"{len(run.measured)} of {len(cases)} are measured"
        on_note(f"going on with the run of {run.measured[0].time}: {done}")
    known = {(p.subject.file, p.subject.sha256, p.runtime): p for p in run.measured}
    profiles = []
    for number, case in enumerate(cases, len(names)):
        on_step(Step(number, total, f"measure {case}"))
        measured = known.get(case.key)
        if measured is None:
            try:
                measure = bench.profile_file if bench else profiling.profile_file
                measured = measure(case.path, case.subject, settings, run=run.name, error=case.error)
            except KeyboardInterrupt:
                on_note(f"{len(profiles)} of {len(cases)} are measured; the same call goes on from there")
                raise
            store.append(measured)
        profiles.append(measured)
        notes = [*case.subject.notes, *measured.warnings, *filter(None, [measured.error])]
        if notes:
            on_note(f"{case}: {'; '.join(notes)}")
    store.finish()
    return profiles + (_measured_here(profiles, store, on_note) if bench else [])


def _tool(benchmark_bin: str | Path | None, delegate: str, cool_seconds: float) -> Tool:
    """Raises UsageError, BadFile where there is none, or not for such options."""
    if benchmark_bin is None:
        raise UsageError(
            f"--device needs --benchmark-bin, your copy of benchmark_model for the phone, {WHERE}"
        )
    if not 0 <= cool_seconds < math.inf:
        raise UsageError(f"--cool must be at least 0, got {cool_seconds}")
    tool = recognise(Path(benchmark_bin))
    tool.check_delegate(delegate)
    return tool


def _measured_here(
    profiles: Sequence[Profile], store: Store, on_note: Callable[[str], None]
) -> list[Profile]:
    """The latest that this computer measured of the same files with as many threads."""
    latest = {
        (p.subject.sha256, p.runtime, p.settings.threads): p
        for p in store.read()[0]
        if p.device is None and p.timing is not None
    }
    wanted = {
        (p.subject.sha256, p.runtime, p.settings.threads): p for p in profiles if p.timing and not p.emulated
    }
    if missing := [p.subject.file for key, p in wanted.items() if key not in latest]:
        on_note(
            f"to compare with this computer, measure here too, with as many threads: {', '.join(missing)}"
        )
    return [latest[key] for key in wanted if key in latest]


def _sort_out(targets: Iterable[str | Path]) -> tuple[list[str], list[Path]]:
    """Names and files, each once. Raises UnknownName for a word that is neither."""
    names, files = [], []
    for target in dict.fromkeys(targets):
        path = Path(target)
        if path.is_file() or path.suffix.lower() in runtime_table.SUFFIXES:
            files.append(path)
        else:
            names.append(registry.shortest_name(registry.get(str(target))))
    return list(dict.fromkeys(names)), files


def _given(path: Path, chosen: Sequence[Runtime], precisions: Sequence[str] | None) -> _Case:
    """A file as it is. Raises UsageError where the options leave nothing to do with it."""
    runtime = runtime_table.for_file(path)
    if runtime not in chosen:
        others = ", ".join(other.name for other in chosen)
        raise UsageError(f"{path.name} runs in {runtime.name}, but --runtime is {others}")
    subject = profiling.describe(path)
    if precisions and subject.precision not in precisions:
        raise UsageError(f"{path.name} is {subject.precision}, but --precision is {', '.join(precisions)}")
    return _Case(path, subject)


def _exported(
    name: str,
    chosen: Sequence[Runtime],
    precisions: Sequence[str],
    folder: Path,
    on_note: Callable[[str], None],
) -> list[_Case]:
    """The artifacts of an architecture; what is missing is exported, what is there stays as it is."""
    paths = {
        (runtime.format, precision): folder / name / f"{name}-{precision}.{runtime.format}"
        for runtime in chosen
        for precision in precisions
        if precision in precisions_of([runtime.format])
    }
    found = {key: _artifact(path) for key, path in paths.items()}
    lacking = defaultdict(list)
    for format in dict.fromkeys(format for format, _ in paths):
        missing = tuple(precision for (of, precision), case in found.items() if of == format and not case)
        lacking[missing].append(format)
    lacking.pop((), None)
    reason = ""
    for missing, formats in lacking.items():  # formats that lack the same are exported side by side
        from edgecls.verbs.export import export

        try:
            export([name], formats=formats, precisions=missing, weights=_weights(found.values()), out=folder)
        except (WorkFailed, BadFile) as error:
            reason = str(error)
            on_note(f"export of {name} failed: {error}")
    return [
        found[key] or _artifact(path) or _unmade(name, path, *key, reason or "the export did not make it")
        for key, path in paths.items()
    ]


def _weights(found: Iterable[_Case | None]) -> str:
    """What missing files are made of: what their neighbours are, else random weights.

    Time and memory are the same with random ones, and nothing needs downloading.
    """
    for case in filter(None, found):
        return pretrained.again(artifact.read_manifest(artifact.manifest_path(case.path)).weights)
    return pretrained.RANDOM


def _artifact(path: Path) -> _Case | None:
    """None where there is none, or one that was damaged since it was written."""
    if not artifact.manifest_path(path).exists():
        return None
    try:
        return _Case(path, profiling.describe(path))
    except BadFile:
        return None


def _unmade(name: str, path: Path, format: str, precision: str, reason: str) -> _Case:
    subject = Subject(
        file=path.name,
        sha256=None,
        bytes=None,
        format=format,
        precision=precision,
        model=name,
        tier=registry.get(name).tier,
    )
    return _Case(path, subject, f"there is no {path.name}: {reason}")
