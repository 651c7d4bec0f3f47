"""Weights files that Keras 2 wrote, which is what keras.applications offers, load by name."""

import re

import h5py
import keras
import numpy as np
import pytest

from edgecls import builder, weights


def keras2_variable(layer, variable):
    return "depthwise_kernel" if isinstance(layer, keras.layers.DepthwiseConv2D) else variable


def mobilenet_v3_layer(name):
    """The name that Keras 2 gave a layer of MobileNet v3."""
    name = re.sub(r"_bn$", "/BatchNorm", name)
    name = re.sub(r"^(expanded_conv(?:_\d+)?)_", r"\1/", name)
    name = re.sub(r"squeeze_excite_conv", "squeeze_excite/Conv", name)
    return re.sub(r"^(conv|logits)", lambda m: m[0].title(), name)


def write(path, model, layer_name=str):
    """`model` as Keras 2's save_weights laid a file out."""
    with h5py.File(path, "w") as file:
        layers = [layer for layer in model.layers if layer.weights]
        file.attrs["layer_names"] = [layer_name(layer.name).encode() for layer in layers]
        for layer in layers:
            name = layer_name(layer.name)
            group = file.create_group(name)
            names = [f"{name}/{keras2_variable(layer, v.name)}:0" for v in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, variable in zip(names, layer.weights, strict=True):
                group[name] = variable.numpy()


@pytest.mark.parametrize(
    ("row", "function", "layer_name"),
    [
        ("mobilenet_v2_035.keras", lambda: keras.applications.MobileNetV2(alpha=0.35, weights=None), str),
        (
            "mobilenet_v3_small.keras",
            lambda: keras.applications.MobileNetV3Small(weights=None),
            mobilenet_v3_layer,
        ),
    ],
)
def test_keras_2_file_loads_by_name(row, function, layer_name, tmp_path):
    model = function()
    path = tmp_path / "weights.h5"
    write(path, model, layer_name)
    ours = builder.build(row, weights=path)
    by_name = builder.build(row, weights={v.path: v.numpy() for v in model.variables})
    for got, wanted in zip(ours.variables, by_name.variables, strict=True):
        np.testing.assert_array_equal(got.numpy(), wanted.numpy())


def test_separable_convolution_keeps_both_its_kernels(tmp_path):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.SeparableConv2D(4, 3, name="separable")(image))
    path = tmp_path / "weights.h5"
    write(path, model)
    assert set(weights.read(path)) == {
        "separable/depthwise_kernel",
        "separable/pointwise_kernel",
        "separable/bias",
    }
