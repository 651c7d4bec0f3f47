"""Layers that Keras lacks. Imported when a model is built, not before."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("edgecls")
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
