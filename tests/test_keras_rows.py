"""Every `keras` row computes what its keras.applications model computes with the same weights."""

import re

import keras
import numpy as np
import pytest

import goldens
from edgecls import builder, registry

#: Largest difference allowed, in standard deviations of the reference's logits.
TOLERANCE = 1e-5

#: Heavy rows quick enough to always run; the other heavy ones are behind `slow`.
FAST = {"resnet50.keras"}


def rows():
    for row in registry.rows():
        if row.source == "keras":
            slow = row.tier == "heavy" and row.key not in FAST
            yield pytest.param(row, marks=[pytest.mark.slow] if slow else [], id=row.key)


def reference_model(row):
    """The keras.applications model that `row.reference` names, with random weights of every kind."""
    function, arguments = re.fullmatch(r"keras\.applications\.(\w+)(?:\((.*)\))?", row.reference).groups()
    options = eval(f"dict({arguments or ''})", {"__builtins__": {"dict": dict}})
    model = getattr(keras.applications, function)(weights=None, classifier_activation=None, **options)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(_draw(rng, variable))
    return model


def _draw(rng, variable):
    shape = tuple(variable.shape)
    if variable.name in ("gamma", "moving_variance", "variance"):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) >= 2:
        fan_in = np.prod(shape[:2]) if "depthwise" in variable.path else np.prod(shape[:-1])
        return rng.standard_normal(shape) * np.sqrt(2 / fan_in)
    return rng.standard_normal(shape) * 0.1


def difference(row, reference, weights):
    """Between the row with `weights` and `reference`, in standard deviations of its logits."""
    model = builder.build(row, weights=weights)
    image = goldens.image(row.input_size)
    ours = np.asarray(model(image, training=False))
    theirs = np.asarray(reference(_as_fed(reference, row, image), training=False))
    return goldens.spread(ours, theirs)


def _as_fed(reference, row, image):
    """Some keras.applications models take pixels and normalise them in layers of their own."""
    if any(isinstance(layer, keras.layers.Rescaling) for layer in reference.layers):
        return image * np.float32(row.preprocess.std) + np.float32(row.preprocess.mean)
    return image


@pytest.mark.parametrize("row", list(rows()))
def test_row_equals_keras_applications(row):
    reference = reference_model(row)
    weights = {variable.path: variable.numpy() for variable in reference.variables}
    assert difference(row, reference, weights) < TOLERANCE


def test_comparison_fails_on_one_wrong_tensor():
    row = registry.get("mobilenet_v2.keras")
    reference = reference_model(row)
    weights = {variable.path: variable.numpy() for variable in reference.variables}
    weights["block_6_depthwise_BN/moving_variance"] = weights["block_6_depthwise_BN/moving_variance"] * 1.001
    assert difference(row, reference, weights) > TOLERANCE
