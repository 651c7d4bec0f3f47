"""How sure a share of right answers is, and whether two files differ in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

#: Of a 95 % interval.
_Z = NormalDist().inv_cdf(0.975)
#: A difference that chance makes no more often than this is taken for real.
SIGNIFICANT = 0.05


@dataclass(frozen=True, kw_only=True)
class Share:
    """`right` of `count` pictures; low, high: the 95 % interval of the true share, by Wilson."""

    right: int
    count: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.right / self.count

    @classmethod
    def of(cls, right: int, count: int) -> Share:
        low, high = wilson(right, count)
        return cls(right=right, count=count, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How one file differs from another on the same pictures, in top-1.

    against: the other's name. lost: pictures that the other alone names rightly; won: that this one
    alone does. difference: of the shares, this one's less the other's; low, high: its 95 % interval,
    by Agresti and Min. p: how often chance makes as many more of one than of the other, by McNemar's
    exact test.
    """

    against: str
    lost: int
    won: int
    difference: float
    low: float
    high: float
    p: float

    def __str__(self):
        """Such as "-0.3 points against a.onnx: within noise, p = 1 (3 lost, 2 won; 95 %: -1.9 to +1.3)"."""
        meaning = "within noise" if self.p > SIGNIFICANT else "worse" if self.difference < 0 else "better"
        points, low, high = (f"{100 * share:+.1f}" for share in (self.difference, self.low, self.high))
        counts = f"{self.lost} lost, {self.won} won; 95 %: {low} to {high}"
        return f"{points} points against {self.against}: {meaning}, p = {self.p:.2g} ({counts})"


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share that was `right` of `count` times; E. B. Wilson, JASA 22 (1927) 209."""
    share, weight = right / count, _Z**2 / count
    middle = share + weight / 2
    spread = _Z * math.sqrt(share * (1 - share) / count + weight / (4 * count))
    low, high = ((middle + sign * spread) / (1 + weight) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def mcnemar(lost: int, won: int) -> float:
    """Two-sided p of McNemar's exact test: that of `lost` heads in `lost + won` throws of a fair coin."""
    throws = lost + won
    if not throws:
        return 1.0
    tail = (
        math.exp(
            math.lgamma(throws + 1) - math.lgamma(k + 1) - math.lgamma(throws - k + 1) - throws * math.log(2)
        )
        for k in range(min(lost, won) + 1)
    )
    return min(1.0, 2 * math.fsum(tail))


def paired_interval(lost: int, won: int, count: int) -> tuple[float, float]:
    """The 95 % interval of (won - lost) / count; Agresti and Min, Statistics in Medicine 24 (2005) 729."""
    total, gain, changed = count + 2, won - lost, won + lost + 1  # half a picture more in each of four cells
    spread = _Z * math.sqrt(changed - gain**2 / total) / total
    return gain / total - spread, gain / total + spread


def difference(against: str, theirs: np.ndarray, ours: np.ndarray) -> Difference:
    """Of two files that were right where these are true, on the same pictures."""
    lost, won = int((theirs & ~ours).sum()), int((ours & ~theirs).sum())
    low, high = paired_interval(lost, won, len(ours))
    return Difference(
        against=against,
        lost=lost,
        won=won,
        difference=(won - lost) / len(ours),
        low=low,
        high=high,
        p=mcnemar(lost, won),
    )
