"""Which int8 file is fast enough and good enough: what is tried, in which order, and what is best of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

#: A set that passes is made smaller by one at a time where it has no more sets than this.
_PRUNED = 6

Kind = Literal["float", "int16"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How an int8 file is made. layers: kept as `kind`, by the float model's tensors."""

    method: str
    per_tensor: bool = False
    kind: Kind = "float"
    layers: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        kept = f", {len(self.layers)} layers in {self.kind}" if self.layers else ""
        return f"int8, {self.method}{', per-tensor, equalised' * self.per_tensor}{kept}"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of one choice; of the float file where `choice` is None.

    sqnr_db, top1: see `artifact.Agreement`; drop: of top-1 against the float file, as a share: of labelled
    pictures, or those where the best class is another. ms: the shortest of many inferences on one thread,
    which other work on the machine spoils least.
    error: why there is no such file; the figures are None then. SQNR of identical logits is None too.
    """

    choice: Choice | None
    sqnr_db: float | None
    top1: float | None
    drop: float | None
    ms: float | None
    bytes: int | None
    error: str | None = None

    @property
    def words(self) -> str:
        return self.choice.words if self.choice else "float"

    @property
    def decibels(self) -> float:
        """To compare with: no error is infinite."""
        return float("inf") if self.sqnr_db is None else self.sqnr_db


@dataclass(frozen=True, kw_only=True)
class Limit:
    """min_sqnr: dB; max_drop: a share of pictures. None: anything will do."""

    min_sqnr: float | None = None
    max_drop: float | None = None

    def holds(self, trial: Trial) -> bool:
        if trial.error:
            return False
        sound = self.min_sqnr is None or trial.decibels >= self.min_sqnr
        return sound and (self.max_drop is None or trial.drop <= self.max_drop)


def search(
    methods: Sequence[str],
    kinds: Sequence[Kind],
    suspects: Callable[[], Sequence[tuple[str, ...]]],
    limit: Limit,
    run: Callable[[Choice], Trial],
) -> None:
    """Let `run` try one choice after the other until the limit holds with little kept in float.

    methods: of calibration, the default first. suspects: sets of layers, the worst first; asked for where
    int8 alone does not do. The order depends on what trials find, and on nothing else; not on their times.
    """
    plain = run(Choice(method=methods[0]))
    if limit.holds(plain):
        return
    others = [run(Choice(method=method)) for method in methods[1:]]
    equalised = run(Choice(method=methods[0], per_tensor=True))
    if any(limit.holds(one) for one in (*others, equalised)):
        return
    best = max((plain, *others), key=lambda one: -float("inf") if one.error else one.decibels)
    sets = list(suspects())
    for kind in kinds:

        def holds(kept, kind=kind):
            layers = tuple(dict.fromkeys(name for one in kept for name in one))
            return limit.holds(run(Choice(method=best.choice.method, kind=kind, layers=layers)))

        few = _fewest(sets, holds)
        if few is None:
            continue
        kept = sets[:few]
        for one in kept[::-1] if len(kept) <= _PRUNED else ():  # the least blamed first
            fewer = [other for other in kept if other is not one]
            if fewer and holds(fewer):
                kept = fewer


def _fewest(sets: Sequence, holds: Callable[[Sequence], bool]) -> int | None:
    """The least n for which `sets[:n]` holds, found by doubling and halving; None where all of them do not."""
    failed, count = 0, 1
    while sets and not holds(sets[: min(count, len(sets))]):
        if count >= len(sets):
            return None
        failed, count = count, 2 * count
    if not sets:
        return None
    passed = min(count, len(sets))
    while passed - failed > 1:
        middle = (passed + failed) // 2
        failed, passed = (failed, middle) if holds(sets[:middle]) else (middle, passed)
    return passed


def fastest(trials: Sequence[Trial], limit: Limit) -> Trial | None:
    """Of those within the limit."""
    return min((one for one in trials if limit.holds(one)), key=lambda one: one.ms, default=None)


def front(trials: Sequence[Trial]) -> list[Trial]:
    """Those that no other beats in both time and SQNR (Pareto), the fastest first."""
    found: list[Trial] = []
    for one in sorted((one for one in trials if not one.error), key=lambda one: (one.ms, -one.decibels)):
        if not found or one.decibels > found[-1].decibels:
            found.append(one)
    return found
