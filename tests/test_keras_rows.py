"""Every `keras` row computes what its keras.applications model computes with the same weights."""

import re

import keras
import numpy as np
import pytest

import goldens
from edgecls import builder, keras_names, registry
from edgecls.errors import WeightsMismatch

#: Largest difference allowed, in standard deviations of the reference's logits.
TOLERANCE = 1e-5

#: Rows of more MACs are behind `slow`, but for these.
SLOW_MACS = 600e6
FAST = {"inception_v3.keras", "nasnet_mobile.keras", "resnet50.keras"}


def rows():
    for row in registry.rows():
        if row.source == "keras":
            slow = row.macs > SLOW_MACS and row.key not in FAST
            yield pytest.param(row, marks=[pytest.mark.slow] if slow else [], id=row.key)


def reference_model(row):
    """The keras.applications model that `row.reference` names, with random weights of every kind.

    Moving statistics are those of the golden image: with random ones a deep net's activations grow
    until rounding decides the logits.
    """
    function, arguments = re.fullmatch(r"keras\.applications\.(\w+)(?:\((.*)\))?", row.reference).groups()
    options = eval(f"dict({arguments or ''})", {"__builtins__": {"dict": dict}})
    model = getattr(keras.applications, function)(weights=None, classifier_activation=None, **options)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(_draw(rng, variable))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        elif isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    without_preprocessing(model)(goldens.image(row.input_size), training=True)
    return model


def _draw(rng, variable):
    shape = tuple(variable.shape)
    if variable.name == "gamma":
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) >= 2:
        fan_in = np.prod(shape[:2]) if "depthwise" in variable.path else np.prod(shape[:-1])
        return rng.standard_normal(shape) * np.sqrt(2 / fan_in)
    return rng.standard_normal(shape) * 0.1


def without_preprocessing(reference):
    """Some keras.applications models take pixels and normalise them in layers of their own."""
    kinds = (keras.layers.Rescaling, keras.layers.Normalization)
    own = [layer for layer in reference.layers if isinstance(layer, kinds)]
    return keras.Model(own[-1].output, reference.output) if own else reference


def difference(row, reference, weights):
    """Between the row with `weights` and `reference`, in standard deviations of its logits."""
    model = builder.build(row, weights=weights)
    image = goldens.image(row.input_size)
    ours = np.asarray(model(image, training=False))
    theirs = np.asarray(without_preprocessing(reference)(image, training=False))
    return goldens.spread(ours, theirs)


@pytest.mark.parametrize("row", list(rows()))
def test_row_equals_keras_applications(row):
    reference = reference_model(row)
    tensors = {variable.path: variable.numpy() for variable in reference.variables}
    assert difference(row, reference, tensors) < TOLERANCE


def test_comparison_fails_on_one_wrong_tensor():
    row = registry.get("mobilenet_v2.keras")
    reference = reference_model(row)
    tensors = {variable.path: variable.numpy() for variable in reference.variables}
    tensors["block_6_depthwise_BN/moving_variance"] = tensors["block_6_depthwise_BN/moving_variance"] * 1.001
    assert difference(row, reference, tensors) > TOLERANCE


def test_layers_that_keras_named_are_taken_in_the_order_of_their_numbers():
    tensors = {"conv2d_9/kernel": 1, "conv2d_10/kernel": 2, "batch_normalization/beta": 3, "dense/bias": 4}
    assert keras_names.numbered(tensors) == {
        "conv2d_1/kernel": 1,
        "conv2d_2/kernel": 2,
        "batch_normalization_1/beta": 3,
        "dense/bias": 4,
    }


def test_scopes_before_a_layer_are_dropped_unless_two_layers_would_be_one():
    assert keras_names.numbered({"cell/block/dense/bias": 4}) == {"dense/bias": 4}
    with pytest.raises(WeightsMismatch, match="two layers of one name"):
        keras_names.numbered({"a/dense/bias": 1, "b/dense/bias": 2})
