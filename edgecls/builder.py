"""From a row to a Keras model: static spatial shape, float32 NHWC in, logits out."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from edgecls import pretrained, registry, weights
from edgecls.artifact import WeightsInfo
from edgecls.errors import DownloadFailed, UsageError, WeightsMismatch
from edgecls.spec import ModelSpec

if TYPE_CHECKING:
    import keras


def assemble(spec: ModelSpec, *, classes: int | None = None, input_size: int | None = None) -> keras.Model:
    """The architecture of `spec` with Keras's initial weights. Raises UsageError for bad sizes."""
    classes = spec.classes if classes is None else classes
    size = spec.input_size if input_size is None else input_size
    check_sizes(spec, classes=classes, input_size=size)
    import keras

    image = keras.Input((size, size, spec.preprocess.channels), name="image")
    logits = spec.build(image, classes=classes, **spec.options)
    return keras.Model(image, logits, name=spec.name)


def check_sizes(spec: ModelSpec, *, classes: int, input_size: int) -> None:
    """Raise UsageError where the architecture cannot have that many classes or that input size."""
    if classes < 1:
        raise UsageError(f"--classes must be at least 1, got {classes}")
    for wrong, rule in (
        (input_size < spec.min_input_size, f"at least {spec.min_input_size}"),
        (input_size % spec.size_step, f"a multiple of {spec.size_step}"),
    ):
        if wrong:
            why = f" ({spec.size_reason})" if spec.size_reason else ""
            raise UsageError(f"--input-size of {spec.key} must be {rule}{why}, got {input_size}")


def build(
    name: str | ModelSpec,
    *,
    weights: str | Path | weights.Tensors = pretrained.AUTO,
    classes: int | None = None,
    input_size: int | None = None,
    seed: int = 0,
) -> keras.Model:
    """A Keras model of the row `name`.

    Input: float32 (batch, size, size, channels) in the row's own normalised space (see
    `ModelSpec.preprocess`, and `WeightSource.preprocess` of published weights). Output: float32
    logits (batch, classes).

    weights: "imagenet", the row's published ones, downloaded unless they are in the cache, or
        "imagenet:TAG"; "auto" the same, but with a warning random ones where there are none or they
        cannot be had; "random" (seeded, scaled so that activations stay in range); a weights file; or
        a mapping of the source's tensor names to arrays.
    classes: as many as the weights have, the row's own with random ones.
    input_size: in pixels, the row's own unless given.
    Raises UnknownName, UsageError, BadFile, WeightsMismatch, DownloadFailed.
    """
    spec = name if isinstance(name, ModelSpec) else registry.get(name)
    size = spec.input_size if input_size is None else input_size
    wanted = spec.classes if classes is None else classes
    check_sizes(spec, classes=wanted, input_size=size)
    if isinstance(weights, (str, Path)):
        weights = _tensors(weights, spec, classes=wanted, seed=seed)
    if weights is None:
        from edgecls.randomise import randomise

        model = assemble(spec, classes=wanted, input_size=size)
        randomise(model, spec.preprocess.at(size), seed=seed)
        return model
    return _loaded(spec, weights, classes, size)


def _tensors(source: str | Path, spec: ModelSpec, *, classes: int, seed: int) -> weights.Tensors | None:
    """What is in the weights that `source` names; None for random ones, with a warning unless asked for."""
    choice = pretrained.choose(spec, source, classes=classes)
    if choice is None:
        return weights.read(source)
    reason = choice.reason
    if choice.published:
        try:
            pretrained.obtain(spec, choice.published, on_note=_warn)
            return weights.read(pretrained.path(spec, choice.published))
        except DownloadFailed as error:
            if choice.required:
                raise
            reason = str(error)
    if reason:
        _warn(WeightsInfo(source="random", trained=False, seed=seed, reason=reason).note)
    return None


def _warn(note: str) -> None:
    warnings.warn(note, stacklevel=4)  # at the caller of `build`


def _loaded(spec, tensors, classes, size):
    model = assemble(spec, classes=weights.classes(tensors, spec, classes), input_size=size)
    try:
        weights.load(model, tensors, spec)
    except WeightsMismatch as error:
        if size == spec.input_size:
            raise
        advice = f"they may fit --input-size {spec.input_size} alone, not {size}"
        raise WeightsMismatch(f"{error}; {advice}") from error
    return model
