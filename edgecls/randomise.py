"""Seeded random weights with which a network behaves like a trained one where it matters.

Activations keep their scale from the first layer to the last, every batch norm holds the statistics
of what reaches it, and logits differ from picture to picture. So quantization has something to
measure, and two runs give the same bytes.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgecls import images, layers, synthetic
from edgecls.errors import WorkFailed
from edgecls.spec import Preprocess

if TYPE_CHECKING:
    import keras

#: Synthetic pictures that batch norms, free kernels and the classifier are fitted to.
PICTURES = 16
#: Standard deviation of each class's logit over those pictures.
LOGIT_STD = 2.0
#: Offset of a batch norm that an activation follows, in standard deviations. At 0, ReLU after
#: batch norm amplifies every disturbance by pi / (pi - 1) per layer (Yang et al. 2019), at 1 by 1.12:
#: with it the rounding of activations to 8 bits stays small in deep networks, as in trained ones.
OFFSET = 1.0
#: Root mean square of what a sigmoid makes gates of. Wider ranges are rounded more coarsely, and
#: the error of a gate is that of its whole channel.
GATE_RMS = 0.5
_ACTIVATIONS = {"Activation", "ReLU"}


def randomise(model: keras.Model, preprocess: Preprocess, *, seed: int = 0) -> None:
    """Set every variable of `model`, a row's freshly assembled network, in place.

    Kernels are He-normal (He et al. 2015, equation 10), each drawn by a generator of its own; those
    that no batch norm follows are then scaled to an output of root mean square 1 (Mishkin and Matas
    2016), `GATE_RMS` before a sigmoid. Biases and offsets are small, not 0, scales near 1, not 1, so that
    an exporter that loses one is found out; `OFFSET` is added before activations. Moving statistics
    are those of each batch norm's input over `PICTURES` synthetic pictures, `preprocess`ed at the
    model's input size. Over the same pictures each class's logit has mean 0 (nearly so where the
    classifier has no bias) and standard deviation `LOGIT_STD`.
    Raises WorkFailed, naming the layer, where a variable has no rule.
    """
    for layer in model.layers:
        for variable in layer.variables:
            variable.assign(_draw(layer, variable, seed))
    series = int(_stream("synthetic pictures", seed).integers(2**32))
    pixels = synthetic.pictures(PICTURES, model.input_shape[1], channels=preprocess.channels, seed=series)
    classifier = layers.classifier(model)
    features = _adapt(model, images.normalise(pixels, preprocess), until=classifier)
    _standardise(classifier, features)


def _stream(name, seed):
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _zeros(rng, shape):
    return np.zeros(shape, np.float32)


def _ones(rng, shape):
    return np.ones(shape, np.float32)


def _normal(rng, shape):
    return rng.standard_normal(shape, np.float32)


def _small(rng, shape):
    return 0.02 * rng.standard_normal(shape, np.float32)


def _near_one(rng, shape):
    return 1 + _small(rng, shape)


def _he(rng, shape):
    """(..., in, out): a filter sees all inputs of its own group."""
    return _he_normal(rng, shape, fan_in=prod(shape[:-1]))


def _he_depthwise(rng, shape):
    """(height, width, in, multiplier): a filter sees one input."""
    return _he_normal(rng, shape, fan_in=prod(shape[:2]))


def _he_normal(rng, shape, *, fan_in):
    kernel = rng.standard_normal(shape, np.float32)
    if len(shape) == 4:  # half the variance is common to a whole window: trained kernels are smooth
        kernel = np.sqrt(np.float32(0.5)) * (kernel + rng.standard_normal((1, 1, *shape[2:]), np.float32))
    kernel *= np.float32(np.sqrt(2 / fan_in))
    return kernel


#: How each variable is drawn, by class of layer. The class token has the power of what it stands
#: before; position tables are small, as in ViT.
_RULES = {
    "Conv2D": {"kernel": _he, "bias": _small},
    "DepthwiseConv2D": {"kernel": _he_depthwise, "bias": _small},
    "Dense": {"kernel": _he, "bias": _small},
    "BatchNormalization": {"gamma": _near_one, "beta": _small, "moving_mean": _zeros, "moving_variance": _ones},
    "LayerNorm": {"gamma": _near_one, "beta": _small},
    "ClassToken": {"token": _normal},
    "PositionEmbedding": {"table": _small},
    "RelativePositionBias": {"table": _small},
}


def _draw(layer, variable, seed):
    rule = _RULES.get(type(layer).__name__, {}).get(variable.name)
    if rule is None:
        kind = type(layer).__name__
        raise WorkFailed(f"no rule for random weights of layer {layer.name!r}: {variable.name} of a {kind}")
    return rule(_stream(variable.path, seed), tuple(variable.shape))


def _adapt(model, pictures, *, until):
    """Run `model` layer by layer up to `until`, fitting each layer to what reaches it.

    Returns the input of `until` as a numpy array. A tensor is dropped after its last reader, so
    that deep networks stay within a few tensors of memory.
    """
    import keras

    sigmoids = (keras.activations.sigmoid, keras.activations.hard_sigmoid)
    nodes = [node for _, node in layers.calls(model)]
    readers = defaultdict(list)
    for node in nodes:
        for tensor in node.input_tensors:
            readers[id(tensor)].append(node.operation)
    values = {id(model.input): pictures}
    for node in nodes:
        layer = node.operation
        if not node.input_tensors:
            continue
        arguments, options = node.arguments.fill_in(values)
        if layer is until:
            return np.asarray(arguments[0])
        following = readers[id(node.output_tensors[0])]
        followers = {type(reader).__name__ for reader in following}
        if type(layer).__name__ == "BatchNormalization":
            mean, variance = _moments(arguments[0])
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)
            if followers <= _ACTIVATIONS:
                layer.beta.assign(layer.beta + OFFSET)
        outputs = layer(*arguments, **options)
        if hasattr(layer, "kernel") and followers != {"BatchNormalization"}:
            gates = any(getattr(reader, "activation", None) in sigmoids for reader in following)
            mean, variance = _moments(outputs)
            scale = (GATE_RMS if gates else 1.0) / np.sqrt(np.mean(variance + mean**2))
            for variable in layer.variables:
                variable.assign(variable * scale)
            outputs = outputs * scale
        for tensor, value in zip(node.output_tensors, keras.tree.flatten(outputs), strict=True):
            values[id(tensor)] = value
        for tensor in node.input_tensors:
            readers[id(tensor)].remove(layer)
            if not readers[id(tensor)]:
                del values[id(tensor)]
    raise WorkFailed(f"classifier {until.name!r} is not reached from the input")


def _moments(value):
    """Mean and variance of each channel."""
    import keras

    mean, variance = keras.ops.moments(value, axes=list(range(value.ndim - 1)))
    return np.asarray(mean), np.asarray(variance)


def _standardise(classifier, features):
    """Give each class logits of mean 0 and standard deviation LOGIT_STD over `features`.

    The bias takes the mean; where there is none, each class's weights are turned at right angles to
    the mean feature.
    """
    kernel = classifier.kernel.numpy()
    features = features.reshape(-1, features.shape[-1]).astype(np.float64)
    weights = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
    if weights.shape[0] != features.shape[1]:
        raise WorkFailed(f"classifier {classifier.name!r} is neither dense nor a 1x1 convolution")
    mean = features.mean(axis=0)
    if not classifier.use_bias:
        weights -= np.outer(mean, mean @ weights) / (mean @ mean)
    weights *= LOGIT_STD / (features @ weights).std(axis=0)
    classifier.kernel.assign(weights.reshape(kernel.shape).astype(np.float32))
    if classifier.use_bias:
        classifier.bias.assign(-(mean @ weights).astype(np.float32))
