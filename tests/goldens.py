"""Golden logits: what independent implementations compute with weights drawn by a fixed rule.

Every tensor has a random generator of its own, seeded by the CRC-32 of its name, and is drawn in
one call of its torch shape in float64; scaling is done in float64 and the cast to float32 is last.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "golden"

#: Largest difference allowed, in standard deviations of the golden logits.
TOLERANCE = 1e-4


def load(name: str) -> tuple[dict, np.ndarray]:
    """(manifest, logits (2, classes)) of one golden file."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return json.loads(file["manifest"].tobytes()), file["logits"]


def tensors(manifest: dict) -> dict[str, np.ndarray]:
    """The state dict of a golden model, float32, torch layout."""
    return {
        key: _draw(key, tuple(shape), role, gain, manifest["weight_gain"])
        for key, shape, role, gain in manifest["params"]
    }


def _draw(key, shape, role, gain, weight_gain):
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if role in ("norm_weight", "running_var"):
        value = rng.uniform(0.5, 1.5, shape)
    else:
        fan_in = int(np.prod(shape[1:]))
        scale = {"weight": np.sqrt(weight_gain / fan_in), "bias": 0.1, "running_mean": 0.1, "other": 0.02}
        value = rng.standard_normal(shape) * scale[role]
    return (value * gain).astype(np.float32)


def image(size: int, channels: int = 3) -> np.ndarray:
    """The golden input as NHWC, (2, size, size, channels), standard normal."""
    nchw = np.random.default_rng(0).standard_normal((2, channels, size, size)).astype(np.float32)
    return nchw.transpose(0, 2, 3, 1)


def spread(logits: np.ndarray, golden: np.ndarray) -> float:
    """Largest difference in standard deviations of `golden`."""
    return float(np.abs(logits - golden).max() / golden.std())
