"""Which output stands for which class, and which classes are mistaken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgecls import dataset
from edgecls.dataset import Dataset
from edgecls.errors import UsageError
from edgecls.evaluation.statistics import Share

#: Names that an error shows.
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class ClassShare:
    """How often pictures of one class are named rightly, and what the others are taken for, most
    often first."""

    name: str
    top1: Share
    taken_for: Mapping[str, int]


def by_class(targets: np.ndarray, first: np.ndarray, names: Sequence[str]) -> list[ClassShare]:
    """Every class that pictures are of, the worst first: by the upper end of its interval.

    targets, first: of each picture, the output that is right and the one that was best.
    """
    found = []
    for target in np.unique(targets):
        taken = Counter(first[targets == target].tolist())
        right, count = taken.pop(int(target), 0), int((targets == target).sum())
        others = {
            names[output]: often
            for output, often in sorted(taken.items(), key=lambda item: (-item[1], item[0]))
        }
        found.append(ClassShare(name=names[target], top1=Share.of(right, count), taken_for=others))
    return sorted(found, key=lambda one: (one.top1.high, one.name))


def targets(data: Dataset, outputs: int, names: Sequence[str] | None) -> tuple[np.ndarray, str | None]:
    """(the output that is right for each picture, what was assumed to find it, in words).

    outputs: how many the model has; names: theirs, where they are known.
    Raises UsageError where the data has classes that the model has not.
    """
    labels = np.asarray(data.labels)
    thousand = len(dataset.imagenet_wnids())
    if data.classes is None:
        if outputs == thousand + 1 and labels.max() < thousand:
            return labels + 1, "classes are counted from 0, and the first output is the background"
        if labels.max() >= outputs:
            raise UsageError(f"{data.source} has class {labels.max()}, the model {outputs}, numbered from 0")
        return labels, None
    used = [data.classes[label] for label in np.unique(labels)]
    if names is not None and set(used) <= set(names):
        if twice := [name for name in used if list(names).count(name) > 1]:
            raise UsageError(f"several outputs of the model are called {_some(twice)}")
        places = {name: place for place, name in enumerate(names)}
        return np.array([places.get(name, -1) for name in data.classes])[labels], None
    if data.classes == dataset.imagenet_wnids() and outputs in (thousand, thousand + 1):
        background = outputs - thousand
        words = "the first of 1001 outputs is the background, those of ImageNet's classes follow"
        return labels + background, words if background else None
    if names is not None:
        unknown = [name for name in used if name not in set(names)]
        raise UsageError(
            f"{data.source} has classes that the model has not: {_some(unknown)}; it has {_some(names)}"
        )
    if all(name.isdecimal() and int(name) < outputs for name in used):
        return np.array([int(name) if name.isdecimal() else -1 for name in data.classes])[labels], None
    if len(data.classes) == outputs:
        return labels, "the outputs have no names; they are taken for the classes in alphabetical order"
    raise UsageError(
        f"{data.source} has {len(data.classes)} classes, the model {outputs} outputs without names; "
        "name them with --labels"
    )


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else "")
