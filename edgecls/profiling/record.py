"""The record of one measurement. Samples are kept; whatever follows from them is computed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgecls.errors import UsageError
from edgecls.graph.cost import Cost
from edgecls.profiling.machine import Machine
from edgecls.runtimes import Delegation

#: Version of the record's shape. A reader refuses versions it does not know.
SCHEMA = 2

#: Half of the samples spread over more than this share of the median: the median is not to be trusted.
_NOISY = 0.1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a file is measured: at least `warmup` runs and `warmup_seconds` before the samples, then
    at least `runs` samples and `min_seconds`. Raises UsageError where that is nothing to do."""

    threads: int = 1
    runs: int = 50
    min_seconds: float = 1.0
    warmup: int = 10
    warmup_seconds: float = 0.5

    def __post_init__(self):
        for name, least in [("threads", 1), ("runs", 1), ("min_seconds", 0), ("warmup", 0)]:
            value = getattr(self, name)
            if not least <= value < math.inf:
                raise UsageError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The file that is measured.

    sha256, bytes: None where the file could not be made.
    model, tier, trained: from its manifest; without one the file's stem, None and None.
    params, macs: of the model, as its manifest says, once batch norms are folded; without one the
    graph's. cost: the graph's. Both are None where it holds an op that cannot be counted.
    notes: what a reader of the figures must be told.
    """

    file: str
    sha256: str | None
    bytes: int | None
    format: str
    precision: str
    model: str
    tier: str | None = None
    trained: bool | None = None
    params: int | None = None
    macs: int | None = None
    cost: Cost | None = None
    notes: tuple[str, ...] = ()

    @property
    def untrained(self) -> bool | None:
        return None if self.trained is None else not self.trained

    @property
    def graph_params(self) -> int | None:
        return self.cost and self.cost.params

    @property
    def graph_macs(self) -> int | None:
        return self.cost and self.cost.macs


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What the child process measured.

    Times in ms. load_ms: from opening the file to a session that can run; first_ms: the first
    inference. base_memory: bytes, the child's peak before it loaded the model (Python and the
    runtime); peak_memory: bytes, its peak in the end. options: what the runtime was told.
    """

    options: Mapping[str, Any]
    delegation: Delegation | None
    load_ms: float
    first_ms: float
    warmup_ms: tuple[float, ...]
    samples_ms: tuple[float, ...]
    base_memory: int
    peak_memory: int

    @property
    def median_ms(self) -> float:
        return percentile(self.samples_ms, 50)

    @property
    def p90_ms(self) -> float:
        return percentile(self.samples_ms, 90)

    @property
    def mean_ms(self) -> float:
        return math.fsum(self.samples_ms) / len(self.samples_ms)

    @property
    def spread(self) -> float:
        """Width of the middle half of the samples, as a share of the median."""
        return (percentile(self.samples_ms, 75) - percentile(self.samples_ms, 25)) / self.median_ms


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One measurement of one file.

    run: what the measurements of one call have in common; time: UTC, ISO 8601. busy_cores: cores
    that other work kept busy just before. timing: None where measuring failed; error: why a part
    of the work failed, None where none did.
    """

    run: str
    time: str
    subject: Subject
    runtime: str
    runtime_version: str
    settings: Settings
    machine: Machine
    load_average: float | None
    busy_cores: float
    timing: Timing | None
    error: str | None = None
    schema: int = field(default=SCHEMA)

    @property
    def gmacs_per_s(self) -> float | None:
        """10^9 multiply-accumulates of the model per second at the median."""
        if self.timing is None or self.subject.macs is None:
            return None
        return self.subject.macs / self.timing.median_ms / 1e6

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why the times are not to be trusted, and what to do about it."""
        found = []
        free = self.machine.logical_cores - self.busy_cores
        if free < self.settings.threads:
            found.append(
                f"other work kept {self.busy_cores:.1f} of {self.machine.logical_cores} cores busy; "
                "stop it and measure again"
            )
        if self.timing is not None and self.timing.spread > _NOISY:
            found.append(
                f"the middle half of the runs spreads over {self.timing.spread:.0%} of the median; "
                "measure again on a quiet machine or with more --runs"
            )
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def percentile(samples: Sequence[float], percent: float) -> float:
    """Between the two nearest samples in order, linearly (NumPy's default)."""
    ordered = sorted(samples)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
