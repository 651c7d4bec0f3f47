"""Lowerings: rewrites that keep a net's function and give a graph that runtimes are faster at.

They are applied while files are made; the Keras model stays the one of the paper. What each is worth
stands in docs/lowerings.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgecls.errors import UnknownName
from edgecls.exporters.recipe import FORMATS, Recipe


@dataclass(frozen=True, kw_only=True)
class Lowering:
    """One rewrite, which a module of this package makes and gives the figures of.

    int8: it is made on the way from a float file to an int8 one, and the float file stays as it is;
    otherwise on the Keras model, for all files.
    """

    name: str
    summary: str
    int8: bool = True
    formats: tuple[str, ...] = FORMATS

    def concerns(self, recipe: Recipe) -> bool:
        return recipe.format in self.formats and (recipe.precision == "int8" or not self.int8)


LOWERINGS = {
    lowering.name: lowering
    for lowering in (
        Lowering(name="shuffle", int8=False, summary="channel shuffles folded into the weights around them"),
        Lowering(name="groups", summary="narrow groups of convolutions merged into wider ones"),
        Lowering(name="hard-swish", formats=("tflite",), summary="hard-swish as a sum and two products"),
        Lowering(name="align", formats=("onnx",), summary="channels padded to multiples of 16"),
        Lowering(name="pools", summary="average pools as depthwise convolutions"),
        Lowering(name="scales", summary="one scale for all that is concatenated"),
        Lowering(name="factors", formats=("onnx",), summary="products with a constant taken into scales"),
    )
}

#: Follows the name of a tensor in the names of those that a lowering computes on the way to it.
INNER = "/lowered"


def check(names: Iterable[str]) -> None:
    """Raise UnknownName for what is no lowering."""
    for name in names:
        if name not in LOWERINGS:
            raise UnknownName("lowering", name, LOWERINGS)
