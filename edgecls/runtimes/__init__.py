"""The libraries that run model files, each behind the same two protocols."""

from __future__ import annotations

from pathlib import Path

from edgecls.errors import BadFile, UnknownName, UsageError
from edgecls.runtimes.base import Delegation, Runtime, Session, random_inputs, run
from edgecls.runtimes.litert import LiteRT
from edgecls.runtimes.ort import Ort

__all__ = [
    "RUNTIMES",
    "SUFFIXES",
    "Delegation",
    "Runtime",
    "Session",
    "for_file",
    "get",
    "open",
    "random_inputs",
    "run",
]

RUNTIMES: dict[str, Runtime] = {runtime.name: runtime for runtime in (LiteRT(), Ort())}
SUFFIXES = tuple(f".{runtime.format}" for runtime in RUNTIMES.values())


def get(name: str) -> Runtime:
    """Raises UnknownName."""
    if name not in RUNTIMES:
        raise UnknownName("runtime", name, RUNTIMES)
    return RUNTIMES[name]


def for_file(path: str | Path) -> Runtime:
    """The runtime of the file's suffix. Raises UsageError for a suffix that none has."""
    path = Path(path)
    for runtime in RUNTIMES.values():
        if path.suffix.lower() == f".{runtime.format}":
            return runtime
    raise UsageError(f"no runtime for {path.name!r}; expected a {' or '.join(SUFFIXES)} file")


def open(path: str | Path, *, threads: int = 1, size: int | None = None) -> Session:
    """Load a model file in the runtime of its suffix. size: of pictures, where the file leaves it open.

    Raises BadFile for a missing file or one that is not a model, WorkFailed with the reason for a
    model that the runtime refuses, UsageError for a suffix that no runtime has.
    """
    path = Path(path)
    runtime = for_file(path)
    if not path.is_file():
        raise BadFile(f"no file {str(path)!r}")
    return runtime.open(path, threads=threads, size=size)
