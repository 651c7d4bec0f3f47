"""Seeded random weights with which a network behaves like a trained one where it matters.

Activations keep their scale from the first layer to the last, every batch norm holds the statistics
of what reaches it, and logits differ from picture to picture. So quantization has something to
measure, and two runs give the same bytes.
"""

from __future__ import annotations

import zlib
from collections import Counter
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgecls import images, layers, synthetic
from edgecls.errors import WorkFailed
from edgecls.spec import Preprocess

if TYPE_CHECKING:
    import keras

#: Synthetic pictures that batch norms and the classifier are fitted to.
PICTURES = 16
#: Standard deviation of each class's logit over those pictures.
LOGIT_STD = 2.0


def randomise(model: keras.Model, preprocess: Preprocess, *, seed: int = 0) -> None:
    """Set every variable of `model`, a row's freshly assembled network, in place.

    Kernels are He-normal (He et al. 2015, equation 10), biases 0, scales 1, offsets 0, each drawn by
    a generator of its own. Moving statistics are those of each batch norm's input over `PICTURES`
    synthetic pictures, `preprocess`ed at the model's input size. The classifier gives every class
    a logit of mean 0 and standard deviation `LOGIT_STD` over the same pictures.
    Raises WorkFailed, naming the layer, where a variable has no rule.
    """
    for layer in model.layers:
        for variable in layer.variables:
            variable.assign(_draw(layer, variable, seed))
    series = _stream("synthetic pictures", seed).integers(2**32)
    pixels = synthetic.pictures(PICTURES, model.input_shape[1], channels=preprocess.channels, seed=int(series))
    classifier = _classifier(model)
    features = _adapt(model, images.normalise(pixels, preprocess), until=classifier)
    _standardise(classifier, features)


def _stream(name, seed):
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _zeros(rng, shape):
    return np.zeros(shape, np.float32)


def _ones(rng, shape):
    return np.ones(shape, np.float32)


def _small(rng, shape):
    return 0.02 * rng.standard_normal(shape, np.float32)


def _he(rng, shape):
    return _he_normal(rng, shape, prod(shape[:-1]))  # all inputs of one filter, in its own group


def _he_depthwise(rng, shape):
    return _he_normal(rng, shape, prod(shape[:2]))  # a filter sees one channel


def _he_normal(rng, shape, fan_in):
    return np.float32(np.sqrt(2 / fan_in)) * rng.standard_normal(shape, np.float32)


#: How each variable is drawn, by class of layer. Position tables are small, as in ViT.
_RULES = {
    "Conv2D": {"kernel": _he, "bias": _zeros},
    "DepthwiseConv2D": {"kernel": _he_depthwise, "bias": _zeros},
    "Dense": {"kernel": _he, "bias": _zeros},
    "BatchNormalization": {"gamma": _ones, "beta": _zeros, "moving_mean": _zeros, "moving_variance": _ones},
    "LayerNormalization": {"gamma": _ones, "beta": _zeros},
    "Embedding": {"embeddings": _small},
}


def _draw(layer, variable, seed):
    rule = _RULES.get(type(layer).__name__, {}).get(variable.name)
    if rule is None:
        kind = type(layer).__name__
        raise WorkFailed(f"no rule for random weights of layer {layer.name!r}: {variable.name} of a {kind}")
    return rule(_stream(variable.path, seed), tuple(variable.shape))


def _classifier(model):
    """The last layer with a kernel before the logits."""
    layer = model.output._keras_history.operation
    while not hasattr(layer, "kernel"):
        layer = layer.input._keras_history.operation
    return layer


def _adapt(model, pictures, *, until):
    """Run `model` layer by layer up to `until`, whose input is returned as a numpy array.

    Each batch norm gets the mean and variance of its input before it is applied. A tensor is
    dropped after its last reader, so that deep networks stay within a few tensors of memory.
    """
    import keras

    nodes = [node for _, node in layers.calls(model)]
    readers = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    values = {id(model.input): pictures}
    for node in nodes:
        layer = node.operation
        if not node.input_tensors:
            continue
        arguments, options = node.arguments.fill_in(values)
        if layer is until:
            return np.asarray(arguments[0])
        if type(layer).__name__ == "BatchNormalization":
            mean, variance = keras.ops.moments(arguments[0], axes=list(range(arguments[0].ndim - 1)))
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)
        outputs = keras.tree.flatten(layer(*arguments, **options))
        values |= {id(tensor): value for tensor, value in zip(node.output_tensors, outputs, strict=True)}
        for tensor in node.input_tensors:
            readers[id(tensor)] -= 1
            if not readers[id(tensor)]:
                del values[id(tensor)]
    raise WorkFailed(f"layer {until.name!r} is not reached")


def _standardise(classifier, features):
    """Give each class logits of mean 0 and standard deviation LOGIT_STD over `features`.

    The mean goes by turning each class's weights at right angles to the mean feature, which needs
    no bias; some networks have none.
    """
    kernel = classifier.kernel.numpy()
    features = features.reshape(-1, features.shape[-1]).astype(np.float64)
    weights = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
    if weights.shape[0] != features.shape[1]:
        raise WorkFailed(f"classifier {classifier.name!r} is neither dense nor a 1x1 convolution")
    mean = features.mean(axis=0)
    weights -= np.outer(mean, mean @ weights) / (mean @ mean)
    weights *= LOGIT_STD / (features @ weights).std(axis=0)
    classifier.kernel.assign(weights.reshape(kernel.shape).astype(np.float32))
