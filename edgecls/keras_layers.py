"""Layers and functions that Keras lacks. Imported when a model is built, not before."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

registered = keras.saving.register_keras_serializable("edgecls")


@registered
def gelu(x):
    """Exact GELU. Keras writes it with erfc, which ONNX has not and TFLite does not fuse."""
    return 0.5 * x * (1.0 + keras.ops.erf(x * 0.7071067811865476))


@registered
class LocalResponseNormalization(keras.layers.Layer):
    """Divide by (bias + alpha * sum of squares over `2 * radius + 1` channels) ** beta.

    Krizhevsky et al. 2012, section 3.3. Both exporters have an operator for it.
    """

    def __init__(self, *, radius, bias, alpha, beta, **kwargs):
        super().__init__(**kwargs)
        self.options = {"radius": radius, "bias": bias, "alpha": alpha, "beta": beta}

    def call(self, x):
        o = self.options
        return tf.nn.local_response_normalization(x, o["radius"], o["bias"], o["alpha"], o["beta"])

    def get_config(self):
        return super().get_config() | self.options


@registered
class LayerNorm(keras.layers.LayerNormalization):
    """Keras's, over the last axis, in the form that runtimes know: first centred, then scaled.

    ONNX Runtime joins it to one operator, which Keras's own form never becomes, and TFLite takes
    scale and offset into a dense layer behind it. Rows of channels, because tf2onnx makes a global
    pool of the mean of a three-dimensional tensor.
    """

    def call(self, x):
        rows = keras.ops.reshape(x, (-1, x.shape[-1]))
        centred = rows - keras.ops.mean(rows, axis=-1, keepdims=True)
        variance = keras.ops.mean(keras.ops.power(centred, 2.0), axis=-1, keepdims=True)
        rows = centred / keras.ops.sqrt(variance + self.epsilon) * self.gamma + self.beta
        return keras.ops.reshape(rows, (-1, *x.shape[1:]))


@registered
class ClassToken(keras.layers.Layer):
    """(batch, tokens, width) with one learned token in front (Dosovitskiy et al. 2020, equation 1)."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="zeros", name="token")

    def call(self, x):
        front = keras.ops.broadcast_to(self.token, (keras.ops.shape(x)[0], 1, x.shape[-1]))
        return keras.ops.concatenate([front, x], axis=1)


@registered
class PositionEmbedding(keras.layers.Layer):
    """A learned vector added to each of the tokens (Dosovitskiy et al. 2020, equation 1)."""

    def build(self, shape):
        self.table = self.add_weight(shape=(1, *shape[1:]), initializer="zeros", name="table")

    def call(self, x):
        return x + self.table


@registered
class RelativePositionBias(keras.layers.Layer):
    """Attention logits (batch, heads, tokens, tokens) plus a learned value for each head and offset.

    The tokens are the pixels, row by row, of a square picture of `side` pixels; the table holds a
    row for each of the (2 * side - 1) ** 2 offsets of two pixels, from the most negative (Dai et
    al. 2021, section 2.1).
    """

    def __init__(self, *, side, **kwargs):
        super().__init__(**kwargs)
        self.side = side

    def build(self, shape):
        offsets = (2 * self.side - 1) ** 2
        self.table = self.add_weight(shape=(offsets, shape[1]), initializer="zeros", name="table")

    def call(self, logits):
        row, column = np.divmod(np.arange(self.side**2), self.side)
        down = row[:, None] - row + self.side - 1
        right = column[:, None] - column + self.side - 1
        bias = keras.ops.take(self.table, down * (2 * self.side - 1) + right, axis=0)
        return logits + keras.ops.transpose(bias, (2, 0, 1))

    def get_config(self):
        return super().get_config() | {"side": self.side}
