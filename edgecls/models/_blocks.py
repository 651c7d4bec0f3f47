"""What the families share: convolutions as each lineage pads and normalises them, pools, gates.

Every function takes and returns Keras tensors of shape (batch, height, width, channels) and names
each layer it makes: `<name>_conv`, `<name>_bn`, `<name>_<activation>`. Keras is imported when the
first layer is made, not before.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal


class _Keras:
    """`keras`, imported at first use, so that the table of rows can be read without it."""

    def __getattr__(self, name):
        return getattr(importlib.import_module("keras"), name)


keras = _Keras()


@dataclass(frozen=True)
class Lineage:
    """How one line of implementations pads strided convolutions and normalises batches.

    padding: "same" is TensorFlow's, which puts the odd pixel at the end; "symmetric" is
        PyTorch's `kernel // 2` on every side. They differ when a stride meets an even size.
    epsilon: of every batch norm.
    """

    padding: Literal["same", "symmetric"]
    epsilon: float

    def conv(self, x, filters, kernel=1, *, stride=1, groups=1, bias=False, padding=None, name):
        """Convolution called `<name>_conv`. `padding` overrides the lineage's: see `pad`."""
        x, padding = pad(x, kernel, stride, self.padding if padding is None else padding, name)
        options = {"strides": stride, "padding": padding, "groups": groups, "use_bias": bias}
        return keras.layers.Conv2D(filters, kernel, name=f"{name}_conv", **options)(x)

    def depthwise(self, x, kernel, *, stride=1, bias=False, padding=None, name):
        """Depthwise convolution called `<name>_conv`."""
        x, padding = pad(x, kernel, stride, self.padding if padding is None else padding, name)
        return keras.layers.DepthwiseConv2D(
            kernel, strides=stride, padding=padding, use_bias=bias, name=f"{name}_conv"
        )(x)

    def norm(self, x, *, scale=True, name):
        """Batch norm called `<name>_bn`; `scale=False` leaves gamma out."""
        return keras.layers.BatchNormalization(epsilon=self.epsilon, scale=scale, name=f"{name}_bn")(x)

    def conv_norm(self, x, filters, kernel=1, *, scale=True, activation=None, name, **options):
        """Convolution, batch norm, activation."""
        x = self.norm(self.conv(x, filters, kernel, name=name, **options), scale=scale, name=name)
        return activate(x, activation, name=name)

    def depthwise_norm(self, x, kernel, *, activation=None, name, **options):
        """Depthwise convolution, batch norm, activation."""
        x = self.norm(self.depthwise(x, kernel, name=name, **options), name=name)
        return activate(x, activation, name=name)


#: Keras and TensorFlow: `same` padding, epsilon 1e-3.
TF = Lineage("same", 1e-3)
#: PyTorch: symmetric padding, epsilon 1e-5.
TORCH = Lineage("symmetric", 1e-5)


def pad(x, kernel, stride, padding, name):
    """Zero-pad for a window of `kernel` and `stride`; returns (x, the `padding` of the layer after).

    padding: "same", "valid", "symmetric" (`kernel // 2` on every side), "ceil" (PyTorch's
    ceil_mode: at the end, what the last window lacks), or (before, after) pixels for both axes.
    Where TensorFlow's `same` would pad just as much, no layer is made.
    """
    if padding in ("same", "valid"):
        return x, padding
    if padding == "symmetric":
        padding = (kernel // 2, kernel // 2)
    elif padding == "ceil":
        padding = (0, (kernel - x.shape[1]) % stride)
    before, after = padding
    if before == after == 0:
        return x, "valid"
    if all(_same_pads(size, kernel, stride) == (before, after) for size in x.shape[1:3]):
        return x, "same"
    layer = keras.layers.ZeroPadding2D(((before, after), (before, after)), name=f"{name}_pad")
    return layer(x), "valid"


def _same_pads(size, kernel, stride):
    """Pixels that TensorFlow's `same` puts before and after an axis of `size`."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def activate(x, kind, *, name):
    """The activation `kind` as a layer called `<name>_<kind>`: "relu", "relu6", "tanh", "sigmoid",
    "swish", exact "gelu", MobileNetV3's "hard_swish" and "hard_sigmoid" (relu6(x + 3) / 6), or None."""
    if kind is None:
        return x
    if kind == "relu6":
        layer = keras.layers.ReLU(6.0, name=f"{name}_relu6")
    elif kind == "gelu":
        from edgecls.keras_layers import gelu

        layer = keras.layers.Activation(gelu, name=f"{name}_gelu")
    else:
        layer = keras.layers.Activation(kind, name=f"{name}_{kind}")
    return layer(x)


def max_pool(x, kernel, *, stride, padding="valid", name):
    """Max pool. Explicit padding is with zeros, right only where no input is negative."""
    x, padding = pad(x, kernel, stride, padding, name)
    return keras.layers.MaxPooling2D(kernel, strides=stride, padding=padding, name=name)(x)


def average_pool(x, kernel, *, stride=1, padding="valid", name):
    """Average pool. "same" leaves its padding out of the means, "symmetric" counts its zeros."""
    if padding == "symmetric":
        x = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        padding = "valid"
    return keras.layers.AveragePooling2D(kernel, strides=stride, padding=padding, name=name)(x)


def local_response_norm(x, *, name):
    """Krizhevsky et al. 2012, section 3.3, with its constants: 5 channels, k = 2."""
    from edgecls.keras_layers import LocalResponseNormalization

    return LocalResponseNormalization(radius=2, bias=2.0, alpha=1e-4, beta=0.75, name=name)(x)


def squeeze_excite(x, channels, *, activation="relu", gate="sigmoid", name):
    """Scale each channel by a gate computed from all channels' means (Hu et al., section 3).

    channels: width of the squeezed layer. Both layers are 1x1 convolutions with bias, named
    `<name>_reduce_conv` and `<name>_expand_conv`.
    """
    width = x.shape[-1]
    s = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    s = keras.layers.Conv2D(channels, 1, name=f"{name}_reduce_conv")(s)
    s = activate(s, activation, name=f"{name}_reduce")
    s = keras.layers.Conv2D(width, 1, name=f"{name}_expand_conv")(s)
    s = activate(s, gate, name=f"{name}_expand")
    return keras.layers.Multiply(name=f"{name}_scale")([x, s])


def classify(x, classes, *, name="classifier"):
    """Mean over the picture, then one dense layer to logits."""
    x = keras.layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
    return keras.layers.Dense(classes, name=name)(x)


def classify_flat(x, classes, *, hidden=(4096, 4096)):
    """Every pixel of the picture into dense layers `fc1`, `fc2`, ... with ReLU, then one to logits."""
    x = keras.layers.Flatten(name="flatten")(x)
    for number, width in enumerate(hidden, start=1):
        x = keras.layers.Dense(width, name=f"fc{number}")(x)
        x = activate(x, "relu", name=f"fc{number}")
    return keras.layers.Dense(classes, name="classifier")(x)


def adaptive_mean(x, size):
    """Means over `size` x `size` bins that cover the picture, PyTorch's AdaptiveAvgPool2d.

    Bins overlap where `size` does not divide the side. No layer where the side is `size` already.
    """
    ops = keras.ops
    for axis in (1, 2):
        side = x.shape[axis]
        if side != size:
            edges = [(i * side // size, -(-(i + 1) * side // size)) for i in range(size)]
            bins = [x[:, a:b] if axis == 1 else x[:, :, a:b] for a, b in edges]
            x = ops.concatenate([ops.mean(bin, axis=axis, keepdims=True) for bin in bins], axis=axis)
    return x


def channel_shuffle(x, groups, *, name):
    """Interleave `groups` equal runs of channels (Zhang et al., ShuffleNet, figure 1)."""
    height, width, channels = x.shape[1:]
    x = keras.layers.Reshape((height * width, groups, channels // groups), name=f"{name}_split")(x)
    x = keras.layers.Permute((1, 3, 2), name=f"{name}_permute")(x)
    return keras.layers.Reshape((height, width, channels), name=f"{name}_merge")(x)


def make_divisible(channels, divisor=8):
    """The multiple of `divisor` nearest to `channels`, never under 90% of it (MobileNet's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
