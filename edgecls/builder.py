"""From a row to a Keras model: static spatial shape, float32 NHWC in, logits out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from edgecls import layers, registry, weights
from edgecls.errors import UsageError
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
    """Raise UsageError where the architecture cannot have that many classes or so small an input."""
    if classes < 1:
        raise UsageError(f"--classes must be at least 1, got {classes}")
    if input_size < spec.min_input_size:
        raise UsageError(f"--input-size of {spec.key} must be at least {spec.min_input_size}, got {input_size}")


def build(
    name: str | ModelSpec,
    *,
    weights: str | Path | weights.Tensors = "random",
    classes: int | None = None,
    input_size: int | None = None,
    seed: int = 0,
) -> keras.Model:
    """A Keras model of the row `name`.

    Input: float32 (batch, size, size, channels) in the row's own normalised space (see
    `ModelSpec.preprocess`). Output: float32 logits (batch, classes).

    weights: "random" (seeded, scaled so that activations stay in range), a weights file, or a
        mapping of the source's tensor names to arrays.
    classes, input_size: the row's own unless given; input_size in pixels.
    Raises UnknownName, UsageError, BadFile, WeightsMismatch.
    """
    spec = name if isinstance(name, ModelSpec) else registry.get(name)
    model = assemble(spec, classes=classes, input_size=input_size)
    if isinstance(weights, str) and weights == "random":
        from edgecls.randomise import randomise

        randomise(model, spec.preprocess.at(model.input_shape[1]), seed=seed)
    else:
        _load(model, weights, spec)
    return model


def _load(model, source, spec):
    tensors = weights.read(source) if isinstance(source, (str, Path)) else source
    weights.load(model, tensors, spec)


def layer_table(name: str, classes: int | None, input_size: int | None, emit) -> list[dict]:
    """Child process: `layers.describe` of a row, as JSON."""
    model = assemble(registry.get(name), classes=classes, input_size=input_size)
    return [dataclasses.asdict(layer) for layer in layers.describe(model)]
