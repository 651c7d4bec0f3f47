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
SCHEMA = 3

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
class Statistics:
    """Of runs whose times a benchmark tool keeps for itself, ms; None is what it does not tell."""

    runs: int
    mean_ms: float
    min_ms: float | None = None
    max_ms: float | None = None
    std_ms: float | None = None
    median_ms: float | None = None
    p5_ms: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What the child process, or the tool on a phone, measured.

    Times in ms. load_ms: from opening the file to a session that can run; first_ms: the first
    inference. base_memory: bytes, the child's peak before it loaded the model (Python and the
    runtime); peak_memory: bytes, its peak in the end. options: what the runtime was told.
    A tool on a phone keeps its samples: `statistics` has what it tells of them, and `warmup` of the runs
    before. added_memory: bytes by which the model made it grow; delegate: its words on what a delegate took.
    """

    options: Mapping[str, Any]
    delegation: Delegation | None
    load_ms: float
    first_ms: float | None
    warmup_ms: tuple[float, ...] = ()
    samples_ms: tuple[float, ...] = ()
    base_memory: int | None = None
    peak_memory: int | None = None
    warmup: Statistics | None = None
    statistics: Statistics | None = None
    added_memory: int | None = None
    delegate: str | None = None

    @property
    def median_ms(self) -> float:
        """The mean where that is all there is, see `mean_only`."""
        if self.statistics is None:
            return percentile(self.samples_ms, 50)
        return self.statistics.mean_ms if self.mean_only else self.statistics.median_ms

    @property
    def mean_only(self) -> bool:
        """Whether nothing but the mean is known of the middle."""
        return self.statistics is not None and self.statistics.median_ms is None

    @property
    def p90_ms(self) -> float | None:
        return percentile(self.samples_ms, 90) if self.samples_ms else None

    @property
    def mean_ms(self) -> float:
        return (
            self.statistics.mean_ms if self.statistics else math.fsum(self.samples_ms) / len(self.samples_ms)
        )

    @property
    def spread(self) -> float | None:
        """Width of the middle half of the samples, as a share of the median."""
        if not self.samples_ms:
            return None
        return (percentile(self.samples_ms, 75) - percentile(self.samples_ms, 25)) / self.median_ms


@dataclass(frozen=True, kw_only=True)
class Condition:
    """How warm and how charged a phone is; None is what it does not tell.

    thermal: Android's status, from "none" over "light", "moderate" and "severe" to "shutdown"; celsius: of
    the battery; battery: its charge, %.
    """

    thermal: str | None
    celsius: float | None
    battery: int | None
    charging: bool | None


@dataclass(frozen=True, kw_only=True)
class Device:
    """A phone, by what it tells of itself.

    soc: its chip; abis: what it runs, best first; tool: what measured there. emulated: whether it is an
    emulator: its times are no phone's. before, after: the measurement.
    """

    serial: str
    model: str | None
    soc: str | None
    abis: tuple[str, ...]
    android: str | None
    emulated: bool
    tool: str
    before: Condition
    after: Condition | None

    @property
    def name(self) -> str:
        return self.model or self.serial


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One measurement of one file.

    run: what the measurements of one call have in common; time: UTC, ISO 8601. busy_cores: cores
    that other work kept busy just before. timing: None where measuring failed; error: why a part
    of the work failed, None where none did. device: the phone it ran on, which `machine` describes then;
    None for this computer.
    """

    run: str
    time: str
    subject: Subject
    runtime: str
    runtime_version: str
    settings: Settings
    machine: Machine
    load_average: float | None
    busy_cores: float | None
    timing: Timing | None
    error: str | None = None
    device: Device | None = None
    schema: int = field(default=SCHEMA)

    @property
    def emulated(self) -> bool:
        return self.device is not None and self.device.emulated

    @property
    def case(self) -> str:
        """What was measured where, in words."""
        on = f"{self.runtime} of {self.place}" if self.place else self.runtime
        return f"{self.subject.model} {self.subject.precision} on {on}"

    @property
    def place(self) -> str | None:
        """The phone; None for this computer."""
        return self.device and self.device.name

    @property
    def gmacs_per_s(self) -> float | None:
        """10^9 multiply-accumulates of the model per second at the median; None of an emulator."""
        if self.timing is None or self.subject.macs is None or self.emulated:
            return None
        return self.subject.macs / self.timing.median_ms / 1e6

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why the times are not to be trusted, and what to do about it."""
        found = []
        if (
            self.busy_cores is not None
            and self.machine.logical_cores - self.busy_cores < self.settings.threads
        ):
            found.append(
                f"other work kept {self.busy_cores:.1f} of {self.machine.logical_cores} cores busy; "
                "stop it and measure again"
            )
        if self.device is not None:
            found += self._phone_warnings()
        if self.timing is not None and (self.timing.spread or 0) > _NOISY:
            found.append(
                f"the middle half of the runs spreads over {self.timing.spread:.0%} of the median; "
                "measure again on a quiet machine or with more --runs"
            )
        return tuple(found)

    def _phone_warnings(self) -> list[str]:
        found, device = [], self.device
        if self.timing and "not be executed" in (self.timing.delegate or ""):
            found.append("the delegate took nothing: these are times of the CPU")
        statistics = self.timing and self.timing.statistics
        if statistics and (statistics.std_ms or 0) > _NOISY * statistics.mean_ms:
            share = statistics.std_ms / statistics.mean_ms
            found.append(
                f"the runs' standard deviation is {share:.0%} of their mean; measure again with more --runs"
            )
        for when, condition in (("before", device.before), ("after", device.after)):
            if condition and condition.thermal not in (None, "none"):
                found.append(
                    f"the phone was throttled for heat ({condition.thermal}) {when} it; "
                    "let it cool, see --cool"
                )
        return found

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def percentile(samples: Sequence[float], percent: float) -> float:
    """Between the two nearest samples in order, linearly (NumPy's default)."""
    ordered = sorted(samples)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
