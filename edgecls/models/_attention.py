"""Attention between tokens: what the transformers share."""

from __future__ import annotations

from edgecls.models._blocks import keras


def attend(q, k, v, *, bias=None, name):
    """Scaled dot-product attention (Vaswani et al. 2017, equation 1) of every head.

    q, k, v: (batch, tokens, heads, width); bias: a layer applied to the logits (batch, heads,
    tokens, tokens). Returns (batch, tokens, heads * width).
    """
    tokens, heads, width = q.shape[1:]
    q = keras.layers.Rescaling(width**-0.5, name=f"{name}_scale")(q)
    q = keras.layers.Permute((2, 1, 3), name=f"{name}_q")(q)
    k = keras.layers.Permute((2, 3, 1), name=f"{name}_k")(k)
    v = keras.layers.Permute((2, 1, 3), name=f"{name}_v")(v)
    logits = keras.ops.matmul(q, k)
    if bias is not None:
        logits = bias(logits)
    shares = keras.layers.Softmax(name=f"{name}_softmax")(logits)
    x = keras.layers.Permute((2, 1, 3), name=f"{name}_heads")(keras.ops.matmul(shares, v))
    return keras.layers.Reshape((tokens, heads * width), name=f"{name}_merge")(x)


def layer_norm(x, *, name):
    """Layer norm over channels called `<name>_ln`."""
    from edgecls.keras_layers import LayerNorm

    return LayerNorm(epsilon=1e-6, name=f"{name}_ln")(x)

