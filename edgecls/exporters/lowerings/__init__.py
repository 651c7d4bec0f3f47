"""Lowerings: rewrites that keep a net's function and give a graph that runtimes are faster at.

They are applied while files are made; the Keras model stays the one of the paper. What each is worth
stands in docs/lowerings.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType

from edgecls.errors import UnknownName
from edgecls.exporters.recipe import FORMATS, Recipe


@dataclass(frozen=True, kw_only=True)
class Lowering:
    """One rewrite, by the module of its name.

    int8: it is made on the float file that an int8 one is quantized from, which stays as it is;
    others are made on the Keras model, before any file. summary: what it does.
    """

    name: str
    summary: str
    int8: bool
    formats: tuple[str, ...] = FORMATS

    def concerns(self, recipe: Recipe) -> bool:
        return recipe.format in self.formats and (recipe.precision == "int8" or not self.int8)


LOWERINGS = {
    lowering.name: lowering
    for lowering in (
        Lowering(name="shuffle", int8=False, summary="channel shuffles folded into the weights around them"),
        Lowering(name="groups", int8=True, summary="narrow groups of convolutions merged into wider ones"),
    )
}


def check(names: Iterable[str]) -> None:
    """Raise UnknownName for what is no lowering."""
    for name in names:
        if name not in LOWERINGS:
            raise UnknownName("lowering", name, LOWERINGS)


def rewrite(name: str) -> ModuleType:
    """The module of an int8 lowering: its functions `tflite` and `onnx` change a float graph in place,
    and say whether there was something to change."""
    return importlib.import_module(f"{__name__}.{name}")
