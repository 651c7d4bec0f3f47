"""Whether calibration pictures can be what the model will see."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgecls.errors import UsageError
from edgecls.spec import Preprocess

#: Fewer pictures than these are worth a warning; as many are advised.
FEW, ADVISED = 16, 100
#: Values may leave the model's range by this share of it, as resized floats do; by more than the
#: second share they are in another scale.
_MARGIN, _OTHER_SCALE = 0.01, 0.5
#: Pictures together fill at least this share of the model's range; half is what 0..1 is of -1..1.
_FILLED = 0.6
#: A picture whose values deviate by less than this share of the range shows nothing.
_FLAT = 0.01
#: Side of the thumbnails that pictures are compared by, and the root mean square between two, in
#: standard deviations, under which they show the same. Among 400 photographs of 301 classes no pair
#: is nearer than 0.338; of one and the same, darker, saved again or cropped by 8 pixels less, nine
#: in ten are.
_SIDE, _SAME = 8, 0.33
#: Of pictures that show the same, more than this share is worth a warning.
_REPEATED = 0.2


def check_scale(source: str, inputs: np.ndarray, preprocess: Preprocess | None) -> None:
    """Raise UsageError where inputs are far outside of what the preprocessing can give."""
    if preprocess is None:
        return
    low, high = preprocess.value_range
    margin = _OTHER_SCALE * (high - low)
    if inputs.min() < low - margin or inputs.max() > high + margin:
        advice = "give pixels as uint8, or floats that are normalised already"
        raise UsageError(f"values of {source} span {_span(inputs, preprocess)}; {advice}")


def warnings(source: str, inputs: np.ndarray, preprocess: Preprocess | None) -> Iterator[str]:
    """What is odd about inputs (count, height, width, channels) in the model's own space."""
    if len(inputs) < FEW:
        yield f"only {len(inputs)} calibration pictures; take {ADVISED}, {FEW} at the least"
    low, high = preprocess.value_range if preprocess else (inputs.min(), inputs.max())
    span = max(float(high - low), np.finfo(np.float32).tiny)
    if preprocess:
        spans = f"values of {source} span {_span(inputs, preprocess)}"
        if inputs.min() < low - _MARGIN * span or inputs.max() > high + _MARGIN * span:
            yield f"{spans}; float arrays must be normalised already"
        elif inputs.max() - inputs.min() < _FILLED * span:
            yield f"{spans}: normalised for another model, or all dark?"
    flat = int((inputs.std(axis=(1, 2)).max(axis=1) < _FLAT * span).sum())
    if flat:
        yield f"{flat} of {len(inputs)} calibration pictures show nothing: one colour from edge to edge"
    distinct = count_distinct(inputs)
    if len(inputs) - distinct > _REPEATED * len(inputs):
        others = "the others nearly repeat them; take other scenes"
        yield f"of {len(inputs)} calibration pictures {distinct} differ, {others}"


def _span(inputs, preprocess):
    low, high = preprocess.value_range
    return f"{inputs.min():.4g}..{inputs.max():.4g}, the model's input {low:.4g}..{high:.4g}"


def count_distinct(inputs: np.ndarray) -> int:
    """How many pictures (count, height, width, channels) are left when near repetitions are taken out."""
    gray = inputs.mean(axis=3)
    edges = [np.linspace(0, size, min(_SIDE, size), endpoint=False).astype(int) for size in gray.shape[1:]]
    rows = np.add.reduceat(gray, edges[0], axis=1)
    thumbnails = np.add.reduceat(rows, edges[1], axis=2).reshape(len(gray), -1)
    thumbnails -= thumbnails.mean(axis=1, keepdims=True)
    deviations = thumbnails.std(axis=1, keepdims=True)
    thumbnails /= np.where(deviations > 0, deviations, 1)
    kept = thumbnails[:0]
    for thumbnail in thumbnails:
        if not (np.sqrt(np.square(kept - thumbnail).mean(axis=1)) < _SAME).any():
            kept = np.vstack([kept, thumbnail])
    return len(kept)
