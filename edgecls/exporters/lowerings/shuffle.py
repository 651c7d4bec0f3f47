"""Channel shuffles folded into the weights of the layers around them.

A shuffle, a split and a concatenation only say which channel stands where. Here each layer fetches
its channels from the layers that computed them, as slices joined in whatever order takes the fewest,
and its weights are put in that order. ShuffleNet v2 is left without a shuffle, and without copying
in every block the half of the channels that passes through. All products stay the same; a
convolution adds them up in another order.

A layer that needs the order of its channels, such as the grouped convolution behind a shuffle of
ShuffleNet v1, keeps what is in front of it as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgecls import layers
from edgecls.errors import UncountableOp

if TYPE_CHECKING:
    import keras

#: Layers that mix all channels: by the names of their weights, the axis along which those of the input lie.
_MIXING = {"Conv2D": {"kernel": 2}, "Dense": {"kernel": 0}}
#: The same of layers that work on each channel alone.
_EACH_ALONE = {
    "Activation": {},
    "AveragePooling2D": {},
    "BatchNormalization": dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), 0),
    "DepthwiseConv2D": {"kernel": 2, "bias": 0},
    "GlobalAveragePooling2D": {},
    "MaxPooling2D": {},
    "ReLU": {},
    "ZeroPadding2D": {},
}

#: XNNPACK joins no more in one operator; a longer concatenation would cut the graph in pieces.
_JOINED_AT_ONCE = 5


def fold(model: keras.Model) -> keras.Model | None:
    """A model of the same function with fewer shuffles; None where none can be folded.

    Layers whose weights stay as they are belong to both models.
    """
    import keras

    if isinstance(model, keras.Sequential) or not _shuffles(model):
        return None
    folded = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=_Folding())
    try:  # a tensor that is read both ways is computed twice
        better = _shuffles(folded) < _shuffles(model) and layers.count(folded) == layers.count(model)
    except UncountableOp:
        return None
    return folded if better else None


def _shuffles(model):
    return sum(type(node.operation).__name__ == "Permute" for _, node in layers.calls(model))


class _Folding:
    """Calls each layer of a model as it stands, and once more on reordered channels where it can.

    What no layer reads of either is not in the model that comes of it.
    """

    def __init__(self):
        self.made: list[keras.KerasTensor] = []
        # id of a tensor -> which of `made`, and which channel of it, its channels are: (..., 2)
        self.channels: dict[int, np.ndarray] = {}
        self.joined: dict[bytes, keras.KerasTensor] = {}

    def __call__(self, layer, *arguments, **options):
        import keras

        outputs = layer(*arguments, **options)
        given = keras.tree.flatten((arguments, options))  # slices and numbers among them
        inputs = [one for one in given if isinstance(one, keras.KerasTensor)]
        if not inputs:
            return outputs
        known = [self._known(tensor) for tensor in inputs]
        moved = _moved(layer, known, outputs)
        if moved is not None:
            for output, channels in zip(keras.tree.flatten(outputs), moved, strict=True):
                self.channels[id(output)] = channels
            return outputs
        axes = (_MIXING | _EACH_ALONE).get(type(layer).__name__)
        order = None if axes is None or _fixed(layer) else self._order(known[0], inputs[0])
        if order is None:
            return outputs
        reordered = _reordered(layer, order, axes)(self._join(known[0][order]))
        if type(layer).__name__ in _MIXING:
            return reordered
        self.channels[id(outputs)] = self._known(reordered)[np.argsort(order)]
        return outputs

    def _known(self, tensor) -> np.ndarray:
        """Where the channels of a tensor come from; from itself unless they were only moved."""
        if id(tensor) not in self.channels:
            width = tensor.shape[-1]
            self.channels[id(tensor)] = np.stack([np.full(width, len(self.made)), np.arange(width)], axis=-1)
            self.made.append(tensor)
        return self.channels[id(tensor)]

    def _order(self, channels, tensor) -> np.ndarray | None:
        """The order in which to fetch the channels of `tensor`; None where it had best be read itself."""
        sources = np.unique(channels[..., 0])
        if channels.ndim != 2 or any(self.made[k].shape[:-1] != tensor.shape[:-1] for k in sources):
            return None
        as_they_are = np.arange(len(channels))
        for order in (as_they_are, np.lexsort((channels[:, 1], channels[:, 0]))):
            if len(_runs(channels[order])) == len(sources):
                itself = order is as_they_are and self.made[sources[0]] is tensor
                return None if itself else order
        return None

    def _join(self, channels):
        """The tensor of these channels."""
        import keras

        key = channels.tobytes()
        if key not in self.joined:
            parts = [
                self.made[k] if b - a == self.made[k].shape[-1] else self.made[k][..., a:b]
                for k, a, b in _runs(channels)
            ]
            while len(parts) > 1:
                parts[:_JOINED_AT_ONCE] = [keras.layers.Concatenate()(parts[:_JOINED_AT_ONCE])]
            self.joined[key] = parts[0]
        return self.joined[key]


def _runs(channels):
    """[(which of the tensors made, first channel, end)] that the channels are, one after the other."""
    ends = np.flatnonzero(np.diff(channels[:, 0]) | (np.diff(channels[:, 1]) != 1)) + 1
    return [(run[0, 0], run[0, 1], run[-1, 1] + 1) for run in np.split(channels, ends)]


def _moved(layer, inputs: Sequence[np.ndarray], outputs) -> list[np.ndarray] | None:
    """The channels of each output of a layer that only moves them; None for any other layer."""
    kind = type(layer).__name__
    (channels, *_), last = inputs, len(outputs[0].shape if isinstance(outputs, list | tuple) else outputs.shape) - 1
    if kind == "Reshape":
        fits = [axis for axis in range(1, last + 1) if prod(outputs.shape[axis:]) == channels[..., 0].size]
        return [channels.reshape(*outputs.shape[fits[-1] :], 2)] if fits else None
    if kind == "Permute":
        ahead = last + 1 - channels.ndim  # axes before those of the channels, the batch left out
        if layer.dims[:ahead] == tuple(range(1, ahead + 1)):
            return [channels.transpose(*(axis - 1 - ahead for axis in layer.dims[ahead:]), -1)]
    elif channels.ndim == 2 and getattr(layer, "axis", None) in (-1, last):
        if kind == "Split":
            return np.split(channels, layer.indices_or_sections)
        if kind == "Concatenate":
            return [np.concatenate(inputs)]
    return None


def _fixed(layer):
    """Whether a layer of a known kind needs its channels in order all the same."""
    return (
        getattr(layer, "groups", 1) > 1
        or getattr(layer, "depth_multiplier", 1) > 1
        or (type(layer).__name__ == "Activation" and layer.activation.__name__ == "softmax")
    )


def _reordered(layer, order, axes):
    """A layer of the same function for input whose channels stand in another order."""
    if (np.diff(order) == 1).all() or not layer.weights:
        return layer
    copy = type(layer).from_config(layer.get_config() | {"name": f"{layer.name}_reordered"})
    copy.build(layer.input.shape)
    values = [np.take(w, order, axis=axes[w.name]) if w.name in axes else w.numpy() for w in layer.weights]
    copy.set_weights(values)
    return copy
