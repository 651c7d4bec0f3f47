"""From the names in files that Keras wrote to the names by which rows know their tensors."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

import numpy as np

from edgecls.errors import WeightsMismatch

Tensors = Mapping[str, np.ndarray]


def numbered(tensors: Tensors) -> dict[str, np.ndarray]:
    """`tensors` by `layer/variable`, without name scopes, the layers that Keras named numbered from 1.

    Keras calls a layer without a name `conv2d`, `conv2d_1`, ... in order of creation, and counts
    on through a process: the same model saved twice has other numbers in the same order.
    """
    by_layer = {"/".join(name.split("/")[-2:]): value for name, value in tensors.items()}
    if len(by_layer) < len(tensors):
        raise WeightsMismatch("the weights hold two layers of one name; give those of the classifier alone")
    numbers = {}
    for kind in ("conv2d", "batch_normalization"):
        layers = {name.split("/")[0] for name in by_layer if re.fullmatch(rf"{kind}(_\d+)?/\w+", name)}
        in_order = sorted(layers, key=lambda layer: int(layer.removeprefix(kind)[1:] or 0))
        numbers |= {layer: f"{kind}_{number}" for number, layer in enumerate(in_order, start=1)}
    renamed = {}
    for name, value in by_layer.items():
        layer, slash, variable = name.partition("/")
        renamed[numbers.get(layer, layer) + slash + variable] = value
    return renamed


def by_order(tensors: Tensors, reference: str, classes: int) -> Tensors:
    """`tensors` by the names of the model `reference`, such as "keras.applications.VGG16()".

    Keras loads `.h5` files by the order of layers. The names in those that keras.applications publishes
    are of the days when each was written: `fc1000` for `predictions`, `block1_conv1_W_1` for `kernel`.
    Left as they are where the shapes of the model, in its order, are others.
    """
    import keras

    call = ast.parse(reference, mode="eval").body
    options = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    model = getattr(keras.applications, call.func.attr)(weights=None, classes=classes, **options)
    names, shapes = [], []
    for layer in model.layers:
        for variable in (*layer.trainable_weights, *layer.non_trainable_weights):
            names.append(f"{layer.name}/{variable.name}")
            shapes.append(tuple(variable.shape))
    if shapes != [value.shape for value in tensors.values()]:
        return tensors
    return dict(zip(names, tensors.values(), strict=True))
