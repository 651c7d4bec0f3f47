"""What recipes did to architectures: the one table, written by scripts/quantization_table."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).parent.parent / "data" / "quantization.json"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of a file. size, time: as shares of the float file's of the same format, the time that of one
    inference on one core of a CPU with integer dot products; sqnr_db: of the logits."""

    size: float
    time: float
    sqnr_db: float


@functools.cache
def table() -> dict[str, dict[str, Figures]]:
    """Figures by the names of architecture and recipe. An architecture has random weights, unless its name
    ends in "trained"."""
    held = json.loads(TABLE.read_text(encoding="utf-8"))
    return {
        net: {recipe: Figures(**figures) for recipe, figures in recipes.items()} for net, recipes in held.items()
    }
