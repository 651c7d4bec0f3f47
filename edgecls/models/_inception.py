"""Inception modules written as tables: what the families of that line share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgecls.models._blocks import keras

#: A convolution (filters, kernel[, stride[, padding]]), a pool's name, or a list of convolutions
#: that read the same picture and are concatenated.
Step = tuple | str | list
Branches = Mapping[str, Sequence[Step]]


def conv_names(steps: Sequence[Step], name: str) -> Iterator[str]:
    """Names of the convolutions of `steps` in order: `<name>_1`, `<name>_2`, side by side `<name>_3a`."""
    convolutions = [step for step in steps if not isinstance(step, str)]
    for number, step in enumerate(convolutions, start=1):
        letters = "ab" if isinstance(step, list) else [""]
        yield from (f"{name}_{number}{letter}" for letter in letters)


def module_conv_names(branches: Branches, name: str) -> Iterator[str]:
    """Names of all convolutions of a module, in the order in which they are made."""
    for branch, steps in branches.items():
        yield from conv_names(steps, f"{name}_{branch}")


def torch_branches(branches: Branches, name: str, module: str) -> dict[str, str]:
    """Rules for `renamed` from a module's layers to timm's, but for branches that fork once more.

    `branch1.2` is the third step of the second branch, a pool being a step too; a branch of one
    convolution is `branch1` itself.
    """
    rules = {}
    for number, (branch, steps) in enumerate(branches.items()):
        if any(isinstance(step, list) for step in steps):
            continue
        positions = [position for position, step in enumerate(steps) if not isinstance(step, str)]
        for convolution, position in zip(conv_names(steps, f"{name}_{branch}"), positions, strict=True):
            place = f"branch{number}" if len(steps) == 1 else f"branch{number}.{position}"
            rules[rf"{convolution}_(conv|bn)"] = rf"{module}.{place}.\1"
    return rules


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a family's tables stand for.

    conv: `conv(x, filters, kernel, stride, padding, *, name)` with its norm and activation, the
        last two arguments as far as the table gives them; pools: name -> `pool(x, *, name)`.
    """

    conv: Callable
    pools: Mapping[str, Callable]

    def chain(self, x, steps: Sequence[Step], *, name: str):
        """`steps` one after the other; see `conv_names` for what their layers are called."""
        names = conv_names(steps, name)
        for position, step in enumerate(steps, start=1):
            if isinstance(step, str):
                x = self.pools[step](x, name=f"{name}_{step}{position}")
            elif isinstance(step, list):
                sides = [self.conv(x, *side, name=next(names)) for side in step]
                x = keras.layers.Concatenate(name=f"{name}_concat{position}")(sides)
            else:
                x = self.conv(x, *step, name=next(names))
        return x

    def module(self, x, branches: Branches, *, name: str):
        """The chains of `branches` side by side on `x`, concatenated in the table's order."""
        ends = [self.chain(x, steps, name=f"{name}_{branch}") for branch, steps in branches.items()]
        return keras.layers.Concatenate(name=f"{name}_concat")(ends)
