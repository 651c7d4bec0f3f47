"""Every figure a report can show, defined once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgecls.profiling import Profile


@dataclass(frozen=True)
class Column:
    """One figure of a profile.

    path: where it stands in the record, "timing.median_ms"; its last part is the key in CSV and
        JSON, where the value is not rounded.
    header: above it in a table; None where a table does not show it.
    unit, decimals: a table shows numbers divided by `unit` and rounded to `decimals`.
    mark: a table shows this sign alone, where the value is true.
    missing: what a table shows where the profile has no such figure.
    once: a table shows it in a model's first row only.
    nested: the value is a list or a record, for JSON alone.
    """

    path: str
    header: str | None = None
    unit: float = 1
    decimals: int | None = None
    mark: str | None = None
    missing: str = "-"
    once: bool = False
    nested: bool = False

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def numeric(self) -> bool:
        return self.decimals is not None

    def value(self, profile: Profile) -> Any:
        """The figure; None where a step on the path to it is None."""
        value = profile
        for step in self.path.split("."):
            value = None if value is None else getattr(value, step)
        return value

    def cell(self, profile: Profile) -> str:
        """The figure as a table shows it."""
        value = self.value(profile)
        if self.mark:
            return self.mark if value else ""
        if value is None:
            return self.missing
        return f"{value / self.unit:.{self.decimals}f}" if self.numeric else str(value)


UNTRAINED = Column("subject.untrained", "", mark="*")
NOISY = Column("warnings", "", mark="~")
MEAN = Column("timing.mean_only", "", mark="m")
EMULATED = Column("emulated", "", mark="e")

COLUMNS = (
    Column("subject.model", "model", once=True),
    UNTRAINED,
    Column("subject.tier", "tier", once=True),
    Column("subject.params", "params M", unit=1e6, decimals=2, once=True),
    Column("subject.macs", "MMACs", unit=1e6, decimals=1, once=True),
    Column("runtime", "runtime"),
    Column("place", "on"),
    Column("subject.precision", "precision"),
    Column("subject.bytes", "size MB", unit=1e6, decimals=2),
    Column("timing.median_ms", "median ms", decimals=2, missing="failed"),
    NOISY,
    MEAN,
    EMULATED,
    Column("timing.p90_ms", "p90 ms", decimals=2),
    Column("gmacs_per_s", "GMAC/s", decimals=1),
    Column("timing.peak_memory", "peak MB", unit=1e6, decimals=0),
    Column("timing.base_memory"),
    Column("subject.graph_params"),
    Column("subject.graph_macs"),
    Column("subject.cost.activation_bytes"),
    Column("timing.mean_ms"),
    Column("timing.spread"),
    Column("timing.load_ms"),
    Column("timing.first_ms"),
    Column("timing.delegation.nodes"),
    Column("timing.delegation.delegated"),
    Column("timing.delegation.partitions"),
    Column("timing.delegate"),
    Column("timing.added_memory"),
    Column("settings.threads"),
    Column("runtime_version"),
    Column("machine.cpu"),
    Column("load_average"),
    Column("busy_cores"),
    Column("subject.file"),
    Column("subject.format"),
    Column("subject.sha256"),
    Column("run"),
    Column("time"),
    Column("subject.notes"),
    Column("error"),
    Column("subject.cost.ops", nested=True),
    Column("subject.cost.float_ops", nested=True),
    Column("timing.options", nested=True),
    Column("timing.delegation", nested=True),
    Column("settings", nested=True),
    Column("machine", nested=True),
    Column("device", nested=True),
    Column("timing.statistics", nested=True),
    Column("timing.warmup", nested=True),
    Column("timing.warmup_ms", nested=True),
    Column("timing.samples_ms", nested=True),
)
