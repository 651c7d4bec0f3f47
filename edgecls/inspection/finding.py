"""What is wrong with the worst layer, in words, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from edgecls.inspection.layers import PICTURE, LayerError

#: A layer of less SQNR than this is worth a word, dB.
_SOUND_DB = 25.0
#: Channels that are so many times wider than the median one leave it too few levels.
_UNEQUAL = 8.0
#: A result that loses more than this share of its values to its range has the wrong one.
_CLIPPED = 0.01
#: A result that uses a smaller share of its levels has too wide a range.
_USED = 0.4


def worst(layers: Sequence[LayerError]) -> list[LayerError]:
    """Those with an error of their own, the largest first."""
    return sorted((one for one in layers if one.arises_db is not None and one.counterpart), key=lambda one: one.arises_db)


def blamed(layers: Sequence[LayerError], layer: LayerError) -> LayerError:
    """The result whose rounding makes most of the error of `layer`: itself, or the worst that it reads."""
    sources = [one for one in layers if one.tensor in layer.sources and one.output_db is not None]
    if layer.cause != "input" or not sources:
        return layer
    return max(sources, key=lambda one: (one.spread or 1.0, -one.output_db))


def finding(layers: Sequence[LayerError]) -> tuple[str | None, str | None, str | None]:
    """(finding, tensor at fault, cure) of the worst layer; None where all are sound."""
    first = next(iter(worst(layers)), None)
    if first is None or first.arises_db >= _SOUND_DB:
        return None, None, None
    at_fault = blamed(layers, first)
    where = f"{first.layer} ({first.op}) has {first.arises_db:.1f} dB of its own"
    if at_fault is not first:
        where += f", from rounding what it reads of {at_fault.layer}"
    why, cure = _why(at_fault, first.cause)
    return f"{where}: {why}", at_fault.tensor, cure


def _why(layer, cause):
    in_float = f"keep what {layer.layer} computes in float: edgecls tune"
    if cause == "weights":
        return "its weights in 8 bits are too coarse", in_float
    if layer.clipped and layer.clipped > _CLIPPED:
        why = f"{100 * layer.clipped:.1f}% of its values are beyond {layer.low:.3g} to {layer.high:.3g}"
        return why, "calibrate on pictures like those that it will see, with --calibration-method min-max"
    if layer.spread and layer.spread > _UNEQUAL:
        why = f"its widest channel is {layer.spread:.0f} times wider than the median one, which has few levels left"
        return why, in_float
    if layer.used is not None and layer.used < _USED:
        return f"only {100 * layer.used:.0f}% of its levels are used", "calibrate with --calibration-method mse"
    return "8 bits are too few for what it computes", in_float


def suspects(layers: Sequence[LayerError]) -> list[tuple[str, ...]]:
    """Layers that are worth more than 8 bits, by the float model's tensors, the worst first.

    Each set is to be kept together: a tensor is spared its rounding where what computes it and all that
    read it are.
    """
    found = []
    for layer in worst(layers):
        fault = blamed(layers, layer)
        reading = [] if layer.cause == "weights" else [one for one in layers if fault.tensor in one.sources]
        names = tuple(one.counterpart for one in (fault, *reading) if one.counterpart and one.op != PICTURE)
        if names and names not in found:
            found.append(names)
    return found
