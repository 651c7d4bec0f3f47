"""What an app must know of its model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecls.artifact import TensorInfo
from edgecls.spec import Preprocess


@dataclass(frozen=True, kw_only=True)
class About:
    """A .tflite file of float32 or uint8 input and output, of batch 1.

    probabilities: whether its outputs are shares already, not logits. labels: one for each output.
    notes: what the user of the app must be told.
    """

    path: Path
    name: str
    precision: str
    bytes: int
    sha256: str
    input: TensorInfo
    output: TensorInfo
    probabilities: bool
    preprocess: Preprocess
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    licence: str | None
