"""What quantization is likely to do to a net, told by what it did to one like it, before any work is done."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgecls import layers
from edgecls.exporters.measured import Figures, table
from edgecls.exporters.recipe import RECIPES, Recipe

if TYPE_CHECKING:
    import keras

#: Another recipe is worth a word where it is so many dB closer to float, or takes such a share of the time.
_CLOSER, _FASTER = 3.0, 0.9


@dataclass(frozen=True, kw_only=True)
class Trait:
    """words: what decides how a net takes quantization. net: the one that stands for all that have it in
    the table of figures; trained: the same with trained weights, which lie on int8 grids already, so that
    they tell of activations alone; instead: its sibling that does without, and how."""

    words: str
    net: str
    trained: str | None = None
    instead: str | None = None
    how: str | None = None


TRAITS = {
    "attention": Trait(words="attention", net="vit_tiny_patch16"),
    "hard-swish": Trait(
        words="hard-swish",
        net="mobilenet_v3_small",
        instead="mobilenet_v3_small_minimalistic",
        how="with ReLU",
    ),
    "swish": Trait(words="swish", net="efficientnet_b0", instead="efficientnet_lite0", how="with ReLU6"),
    "gates": Trait(words="squeeze and excitation", net="se_resnet18"),
    "gated depthwise": Trait(words="squeeze and excitation, depthwise convolutions", net="ghostnet"),
    "depthwise": Trait(words="depthwise convolutions", net="mobilenet_v2", trained="mobilenet_v2 trained"),
    "plain": Trait(words="convolutions and ReLU", net="resnet50"),
}

_ATTENTION = {"MultiHeadAttention", "GroupedQueryAttention", "Attention", "Matmul", "Einsum", "Dot"}
_DEPTHWISE = {"DepthwiseConv2D", "SeparableConv2D"}
_PLAIN = {"relu", "relu6", "linear", "softmax"}


def trait(model: keras.Model) -> str | None:
    """The key in `TRAITS` of a Keras model, by its layers and how they are connected; None for one like
    none that was measured."""
    nodes = [node for _, node in layers.calls(model)]
    kinds = {type(node.operation).__name__ for node in nodes}
    activations = {_activation(node.operation) for node in nodes} - {None}
    depthwise = bool(kinds & _DEPTHWISE)
    if kinds & _ATTENTION:
        return None if depthwise else "attention"
    if "hard_silu" in activations:
        return "hard-swish"
    if "silu" in activations:
        return "swish"
    if any(type(node.operation).__name__ == "Conv2D" and node.operation.groups > 1 for node in nodes):
        return None
    if any(_scales_channels(node) for node in nodes):
        return "gated depthwise" if depthwise else "gates"
    if activations <= _PLAIN and kinds & {"Conv2D", *_DEPTHWISE}:
        return "depthwise" if depthwise else "plain"
    return None


def _activation(layer):
    if type(layer).__name__ == "ReLU":
        return "relu"
    return getattr(getattr(layer, "activation", None), "__name__", None)


def _scales_channels(node):
    """Whether a call multiplies a picture by a value for each of its channels."""
    if type(node.operation).__name__ != "Multiply" or len(node.input_tensors) != 2:
        return False
    sizes = {tuple(tensor.shape[1:-1]) for tensor in node.input_tensors}
    return (1, 1) in sizes and len(sizes) == 2


def sentence(trait: str | None, recipe: Recipe, *, per_tensor: bool = False) -> str | None:
    """What `recipe` is likely to do to a net of that trait, and what to try instead; None where nothing
    is known, as of one scale for each tensor, or nothing is lost."""
    if trait is None or recipe.precision in ("fp32", "fp16") or (per_tensor and recipe.calibrated):
        return None
    like = TRAITS[trait]
    known = table()[like.net]
    own = known[recipe.name]
    parts = [f"of {like.net} with random weights it kept {_words(own)} times float's time"]
    if like.trained and recipe.precision == "int8":
        parts.append(f"with trained ones {table()[like.trained][recipe.name].sqnr_db:.0f} dB")
    parts += [f"{one.precision} kept {_words(known[one.name])}" for one in _others(known, recipe)]
    if like.instead:
        parts.append(f"{like.instead}, {like.how}, {_words(table()[like.instead][recipe.name])}")
    return f"{recipe.name} of a net with {like.words}: {'; '.join(parts)}"


def _words(found: Figures) -> str:
    return f"{found.sqnr_db:.0f} dB at {found.time:.2g}"


def _others(known: dict[str, Figures], recipe: Recipe) -> list[Recipe]:
    """Recipes that are closer or faster than this one, and no other of them is both."""
    own, worth = known[recipe.name], {}
    for other in RECIPES.values():
        found = known[other.name]
        better = found.sqnr_db >= own.sqnr_db + _CLOSER or found.time <= own.time * _FASTER
        if other.format == recipe.format and other.precision != "fp32" and better:
            worth[other] = found

    def beaten(one: Recipe) -> bool:
        rivals = [found for other, found in worth.items() if other != one]
        return any(found.sqnr_db >= worth[one].sqnr_db and found.time <= worth[one].time for found in rivals)

    return [one for one in worth if not beaten(one)]


def described(name: str, classes: int | None, input_size: int | None, emit) -> dict[str, Any]:
    """Child process: the "layers" of a row, see `layers.describe`, and its "trait"."""
    from edgecls import builder, registry

    model = builder.assemble(registry.get(name), classes=classes, input_size=input_size)
    return {"layers": [dataclasses.asdict(one) for one in layers.describe(model)], "trait": trait(model)}
