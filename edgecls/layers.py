"""What each layer of a Keras model costs: parameters and multiply-accumulates of one picture.

One MAC is one multiply-accumulate (two FLOPs). Convolutions, dense layers and matrix products
count; biases, batch norms, activations, pools and element-wise layers count 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from edgecls.errors import UncountableOp

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One call of one layer.

    kind: the layer's class; output_shape: without the batch axis; params: trainable parameters,
    0 at every call of a shared layer but the first; macs: of one picture.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    params: int
    macs: int


def describe(model: keras.Model) -> list[LayerCost]:
    """Every layer of `model` in an order of execution, nested models opened (`outer/inner`).

    Raises UncountableOp for a layer that has weights and no counting rule, and for a shape that is
    not static.
    """
    costs, counted = [], set()
    for name, node in calls(model):
        layer = node.operation
        params = 0 if id(layer) in counted else _params(layer)
        counted.add(id(layer))
        costs.append(
            LayerCost(
                name=name,
                kind=type(layer).__name__,
                output_shape=_static(node.output_tensors[0], name),
                params=params,
                macs=_macs(node, name),
            )
        )
    return costs


def count(model: keras.Model) -> tuple[int, int]:
    """(trainable parameters, MACs of one picture). Raises what `describe` raises."""
    costs = describe(model)
    return sum(cost.params for cost in costs), sum(cost.macs for cost in costs)


def folded_params(model: keras.Model) -> int:
    """Parameters left in an inference graph whose batch norms are folded where they can be.

    A batch norm that is alone in reading a convolution or dense layer without activation becomes
    that layer's kernel and bias. A batch norm or a `LayerNorm` that is read by a dense layer with a
    bias alone leaves its scale and offset in that. Any other one keeps them. The table of a
    `RelativePositionBias` is spread out: a value for each head and pair of tokens. A bias of nothing
    but zeros is left out: in an exported graph it cannot be told from the one of a layer that has none.
    """
    nodes = [node for _, node in calls(model)]
    readers: dict[int, list] = {}
    for node in nodes:
        for tensor in node.input_tensors:
            readers.setdefault(id(tensor), []).append(node.operation)
    others = {id(node.operation): node.operation for node in nodes if not _is_norm(node.operation)}
    total = sum(_params(layer) - _zeros(layer) for layer in others.values())
    for node in nodes:
        if type(node.operation).__name__ == "RelativePositionBias":
            total += prod(node.output_tensors[0].shape[1:]) - _params(node.operation)
        if _is_norm(node.operation):
            channels = node.operation.weights[0].shape[0]
            tensor = node.input_tensors[0]
            producer = tensor._keras_history.operation
            next_layers = readers.get(id(node.output_tensors[0]), [])
            if [type(layer).__name__ for layer in next_layers] == ["Dense"] and next_layers[0].use_bias:
                continue
            follows = len(readers[id(tensor)]) == 1 and _is_linear(producer)
            if follows and type(node.operation).__name__ == "BatchNormalization":
                total += 0 if producer.use_bias and not _zeros(producer) else channels
            else:
                total += 2 * channels
    return total


def classifier(model: keras.Model) -> keras.Layer:
    """The last layer with a kernel before the logits: dense, or a 1x1 convolution."""
    layer = model.output._keras_history.operation
    while not hasattr(layer, "kernel"):
        layer = layer.input._keras_history.operation
    return layer


def calls(model, prefix="") -> Iterator[tuple[str, object]]:
    """(name, node) of each call in `model`; a node holds a layer and the tensors of that call."""
    nodes = _nodes(model)
    for depth in sorted(nodes, reverse=True):
        for node in nodes[depth]:
            if _nodes(node.operation):
                yield from calls(node.operation, f"{prefix}{node.operation.name}/")
            else:
                yield prefix + node.operation.name, node


def _nodes(layer) -> dict[int, list]:
    """The calls inside a functional or sequential model, by depth; of any other layer none."""
    return getattr(getattr(layer, "_functional", layer), "_nodes_by_depth", {})


def _params(layer) -> int:
    """Moving statistics and a Normalization layer's constants are not trained."""
    if type(layer).__name__ == "Normalization":
        return 0
    weights = getattr(layer, "weights", ())  # a bare operation, such as keras.ops.matmul, has none
    return sum(prod(w.shape) for w in weights if not w.name.startswith("moving_"))


def _static(tensor, name) -> tuple[int, ...]:
    shape = tuple(tensor.shape[1:])
    if None in shape:
        raise UncountableOp(f"layer {name!r} has the shape {shape}; give the model an input of fixed size")
    return shape


def _conv_macs(layer, x, y):
    return prod(y) * prod(layer.kernel.shape[:-1])  # height, width, channels of one group


def _depthwise_macs(layer, x, y):
    return prod(y) * prod(layer.kernel.shape[:2])


def _separable_macs(layer, x, y):
    pixels = prod(y[:2])
    return pixels * (prod(layer.depthwise_kernel.shape) + prod(layer.pointwise_kernel.shape))


def _dense_macs(layer, x, y):
    return prod(y) * layer.kernel.shape[0]


def _matmul_macs(layer, x, y):
    return prod(y) * x[-1]


_RULES = {
    "Conv2D": _conv_macs,
    "DepthwiseConv2D": _depthwise_macs,
    "SeparableConv2D": _separable_macs,
    "Dense": _dense_macs,
    "Matmul": _matmul_macs,
}
_FREE = {
    "BatchNormalization",
    "ClassToken",
    "LayerNorm",
    "LayerNormalization",
    "Normalization",
    "PositionEmbedding",
    "RelativePositionBias",
}


def _macs(node, name) -> int:
    layer = node.operation
    kind = type(layer).__name__
    if kind in _RULES:
        shapes = [_static(tensor, name) for tensor in (*node.input_tensors[:1], *node.output_tensors)]
        return _RULES[kind](layer, *shapes)
    if kind not in _FREE and getattr(layer, "weights", ()):
        raise UncountableOp(f"layer {name!r} is a {kind}, which has weights and no counting rule")
    return 0


def _zeros(layer) -> int:
    """Elements of its biases and offsets that hold nothing but zeros."""
    offsets = [w for w in getattr(layer, "weights", ()) if w.name in ("bias", "beta")]
    return sum(prod(w.shape) for w in offsets if not w.numpy().any())


def _is_norm(layer) -> bool:
    return type(layer).__name__ in ("BatchNormalization", "LayerNorm")


def _is_linear(layer) -> bool:
    linear = type(layer).__name__ in ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense")
    return linear and layer.activation.__name__ == "linear"
