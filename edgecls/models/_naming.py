"""From our layer names to a source's: what each weight mapping is written in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping


def renamed(rules: Mapping[str, str | Callable[[re.Match], str]]) -> Callable[[str], str]:
    """A function from our layer name to the source's, by the first pattern that matches it whole.

    A rule is a template (`r"features.\\1.conv"`) or, where counting differs, a function of the
    match. The function raises KeyError for a name that no rule knows.
    """

    def source_name(layer: str) -> str:
        for pattern, target in rules.items():
            if match := re.fullmatch(pattern, layer):
                return target(match) if callable(target) else match.expand(target)
        raise KeyError(layer)

    return source_name


def own_names(layer: str) -> str:
    """For rows that no library has: their weights are called as our layers are."""
    return layer
