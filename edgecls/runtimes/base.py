"""What a runtime is to the rest: two protocols, and inputs to try one with."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from edgecls.artifact import TensorInfo
from edgecls.errors import UsageError, WorkFailed

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Delegation:
    """How much of a graph a delegate took over.

    nodes: in the file's main graph; delegated: of those, taken by the delegate, in `partitions`
    pieces; outside: nodes left to the runtime's own kernels, by op.
    """

    delegate: str
    nodes: int
    delegated: int
    partitions: int
    outside: Mapping[str, int]


class Session(Protocol):
    """A loaded model. `invoke` is inference and nothing else: inputs are set before, read after.

    An output's dimension that the file leaves open is -1. options: what the runtime was told;
    delegation: None where the runtime has no delegates.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    options: Mapping[str, Any]
    delegation: Delegation | None

    def set_inputs(self, values: Sequence[np.ndarray]) -> None:
        """One array per input, of its shape and dtype."""

    def invoke(self) -> None:
        """Run the model once. Raises WorkFailed."""

    def results(self) -> list[np.ndarray]:
        """Copies of what the last `invoke` computed, one array per output."""


class Runtime(Protocol):
    """A library that runs files of one format (their suffix without the dot)."""

    name: str
    format: str

    @property
    def version(self) -> str:
        """Raises UsageError where the library is not installed."""

    def load(self) -> ModuleType:
        """Import the library, which the first `open` does otherwise. Raises UsageError as above."""

    def open(self, path: Path, *, threads: int, size: int | None = None) -> Session:
        """Load a file, batch 1 where its batch is open, pictures of `size` where that is.

        Raises BadFile for what is not a model, WorkFailed with the reason for a model that the
        runtime refuses.
        """


def run(session: Session, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Set the inputs, run once, return the outputs."""
    session.set_inputs(inputs)
    session.invoke()
    return session.results()


def random_inputs(inputs: Sequence[TensorInfo], seed: int = 0) -> list[np.ndarray]:
    """An array per input: standard normal floats, random quantized values and bytes, else zeros.

    Zeros for plain integers because they may be indices, which must be valid.
    """
    import numpy as np

    rng = np.random.default_rng(seed)

    def fill(info):
        dtype = np.dtype(info.dtype)
        if dtype.kind == "f":
            return rng.standard_normal(info.shape).astype(dtype)
        if dtype.kind in "iu" and (dtype.itemsize == 1 or info.scale is not None):
            bounds = np.iinfo(dtype)
            return rng.integers(bounds.min, bounds.max, info.shape, dtype=dtype, endpoint=True)
        return np.zeros(info.shape, dtype)

    return [fill(info) for info in inputs]


def closed(path: Path, name: str, shape: Sequence[int | str | None], size: int | None) -> tuple[int, ...]:
    """`shape` with an open first dimension made 1, others `size`; open dimensions are negative or no number.

    Raises WorkFailed where another is open and there is no size for it.
    """
    sizes = [length if isinstance(length, int) and length >= 0 else None for length in shape]
    sizes[1:] = [size if length is None else length for length in sizes[1:]]
    if None in sizes[1:]:
        shown = ", ".join("?" if length is None else str(length) for length in sizes)
        raise WorkFailed(
            f"{path.name}: input {name!r} has no fixed size ({shown}); export it with a static shape"
        )
    return tuple(1 if length is None else length for length in sizes)


def version(runtime: str, package: str) -> str:
    """Version of the distribution `package`. Raises UsageError where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise _not_installed(runtime, package) from error


def library(runtime: str, package: str, module: str) -> ModuleType:
    """`module` of the distribution `package`. Raises UsageError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _not_installed(runtime, package) from error


def _not_installed(runtime: str, package: str) -> UsageError:
    return UsageError(f"the runtime {runtime} is not installed; run `pip install {package}`")
