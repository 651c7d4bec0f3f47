"""Error of each layer of a quantized graph: of its own, and with all that came before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from edgecls.graph import Graph, read
from edgecls.inspection.matching import Match
from edgecls.verification import inside
from edgecls.verification.saturation import beyond

#: Power of a difference or a signal of nothing.
_TINY = float(np.finfo(np.float32).tiny)
#: Where an error comes from: what caused this share of it at least.
_MOST = 0.5

#: Ends the names of ops that make a layer what it is, and of all ops of a model that was called twice.
_CONTRACTIONS, _AGAIN = {"convolution", "depthwise", "MatMul", "BiasAdd"}, "_1"

#: The op of the picture, which no op computes.
PICTURE = "picture"

Cause = Literal["input", "output", "weights"]


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """One result of a layer of a quantized graph, held against the float model's.

    layer: its name; tensor: the name of its result in the file; op: its kind.
    dtype, scale, zero_point: how the result is kept; low, high: the ends of that range.
    used: share of the type's levels between the least and the largest that occurred. clipped: share of
    the float model's values beyond the range. spread: the widest channel over the median one.
    arises_db: SQNR of the layer alone, given the float model's values, rounded as its inputs are;
    arrives_db: SQNR within the graph, with the error of all layers before; input_db: SQNR of the float layer
    given inputs rounded so; output_db: SQNR of the float result once it is rounded. dB; None: no error.
    cause: of most of what arises. sources: results that it reads.
    counterpart: the float model's tensor of this result; where it has none, there are no errors to tell.
    """

    layer: str
    tensor: str
    op: str
    dtype: str
    scale: float | None
    zero_point: int | None
    low: float | None
    high: float | None
    used: float | None
    clipped: float | None
    spread: float | None
    arises_db: float | None
    arrives_db: float | None
    input_db: float | None
    output_db: float | None
    cause: Cause | None
    sources: tuple[str, ...]
    counterpart: str | None


@dataclass
class _Sums:
    """Over all pictures: powers of the signal and of each kind of noise, and what the values were."""

    signal: float = 0.0
    arises: float = 0.0
    arrives: float = 0.0
    input: float = 0.0
    output: float = 0.0
    clipped: list[float] = field(default_factory=list)
    channels: np.ndarray | None = None
    least: float = np.inf
    most: float = -np.inf


#: A graph that was cut: the file, and its inputs by the tensors that they stand for.
Pieces = tuple[Path, Mapping[str, str]]


def errors(
    graph: Graph,
    model: Graph,
    matches: Sequence[Match],
    pieces: tuple[Pieces, Pieces],
    pictures: np.ndarray,
    on_picture: Callable[[int], None],
) -> list[LayerError]:
    """Run `graph` and the float `model` it was made of on `pictures` (count, 1, ...), as `model` takes them.

    pieces: both, cut at the tensors of `matches` that have a twin, and at these twins. on_picture: told
    how many are done.
    """
    (picture_of,) = (one for one in matches if one.op is None)
    known = [one for one in matches if one.twin]
    results = [one for one in known if one.op]
    (alone_path, alone_inputs), (fed_path, fed_inputs) = pieces
    model_run = inside.open(model, [one.twin.name for one in results])
    graph_run = inside.open(graph, [one.tensor.name for one in matches if one.op])
    alone_run = inside.open(read(alone_path), [one.tensor.name for one in results])
    fed_run = inside.open(read(fed_path), [one.twin.name for one in results])
    sums = {one: _Sums() for one in matches}
    for done, picture in enumerate(pictures, 1):
        entered = picture_of.given(picture)
        right = {model.inputs[0].name: picture} | model_run({model.inputs[0].name: picture})
        stored = {picture_of.tensor.name: entered} | graph_run({picture_of.tensor.name: entered})
        alone = alone_run({alone_inputs[one.tensor.name]: one.given(right[one.twin.name]) for one in known})
        fed = fed_run({fed_inputs[one.twin.name]: one.rounded(right[one.twin.name]) for one in known})
        for one in matches:
            found, value = sums[one], stored[one.tensor.name]
            if one.info:
                held = value / one.info.scale + one.info.zero_point if one.tensor.floating else value
                found.least, found.most = min(found.least, float(held.min())), max(found.most, float(held.max()))
            if not one.twin:
                continue
            wanted, real = right[one.twin.name], one.real(value)
            found.signal += _power(wanted)
            found.arrives += _power(wanted - real)
            found.output += _power(wanted - one.rounded(wanted))
            found.arises += _power(wanted - (one.real(alone[one.tensor.name]) if one.op else real))
            found.input += _power(wanted - fed[one.twin.name]) if one.op else 0.0
            if one.info:
                found.clipped.append(beyond(wanted, one.info))
            widths = _widths(wanted, graph.format)
            found.channels = widths if found.channels is None else np.maximum(found.channels, widths)
        on_picture(done)
    names = layer_names(matches)
    return [_error(one, sums[one], names[one]) for one in matches]


def _error(one: Match, sums: _Sums, name: str) -> LayerError:
    low, high, used, limits = None, None, None, None
    if one.info:
        limits = np.iinfo(one.info.dtype)
        low, high = ((end - one.info.zero_point) * one.info.scale for end in (limits.min, limits.max))
        ends = np.clip([sums.least, sums.most], limits.min, limits.max)
        used = float((ends[1] - ends[0] + 1) / (limits.max - limits.min + 1))
    spread = None
    if one.twin and sums.channels.size > 1:
        spread = float(sums.channels.max() / max(np.median(sums.channels), _TINY)) if sums.channels.any() else 1.0
    return LayerError(
        layer=name,
        tensor=one.tensor.name,
        op=one.op.kind if one.op else PICTURE,
        dtype=one.info.dtype if one.info else one.tensor.dtype,
        scale=one.info and one.info.scale,
        zero_point=one.info and one.info.zero_point,
        low=low,
        high=high,
        used=used,
        clipped=float(np.mean(sums.clipped)) if sums.clipped else None,
        spread=spread,
        **{f"{kind}_db": _db(sums.signal, getattr(sums, kind)) for kind in ("arises", "arrives", "input", "output")},
        cause=_cause(sums) if one.twin else None,
        sources=tuple(source.name for source in one.sources),
        counterpart=one.twin and one.twin.name,
    )


def layer_names(matches: Sequence[Match]) -> dict[Match, str]:
    """What a person calls each layer.

    The converters name results by all ops that were fused into one, "net/layer/op;net/norm/op", and the ops
    of a model that was called more than once by "layer_1".
    """
    names = {one: _scope(one) for one in matches}
    scopes = [name for one, name in names.items() if "/" in one.tensor.name]
    again = all(name.endswith(_AGAIN) for name in scopes)
    return {one: name.removesuffix(_AGAIN) if again else name for one, name in names.items()}


def _scope(one: Match) -> str:
    named = one.op.name if one.op and "/" in one.op.name else (one.twin or one.tensor).name
    parts = [part.split("/") for part in named.split(";")]
    part = next((part for part in parts if part[-1] in _CONTRACTIONS), parts[0])
    return part[1] if len(part) > 2 else "/".join(part)


def _cause(sums: _Sums) -> Cause | None:
    if not sums.arises:
        return None
    if sums.input >= _MOST * sums.arises:
        return "input"
    return "output" if sums.output >= _MOST * sums.arises else "weights"


def _power(values: np.ndarray) -> float:
    return float(np.square(values, dtype=np.float64).sum())


def _db(signal: float, noise: float) -> float | None:
    return float(10 * np.log10(max(signal, _TINY) / noise)) if noise else None


def _widths(values: np.ndarray, format: str) -> np.ndarray:
    """Largest magnitude of each channel."""
    axis = 1 if format == "onnx" and values.ndim == 4 else -1
    return np.abs(np.moveaxis(values, axis, 0)).reshape(values.shape[axis], -1).max(axis=1)
