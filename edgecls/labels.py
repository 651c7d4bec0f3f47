"""Names of classes, in the order of a model's outputs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from edgecls.errors import BadFile, UsageError
from edgecls.spec import ModelSpec

#: Longest file of labels, bytes: a hundred for each of ImageNet's 21,841 classes is a fifth of it.
_LONGEST = 10_000_000


@functools.cache
def imagenet() -> tuple[str, ...]:
    """The 1000 classes of ILSVRC 2012, as `dataset.imagenet_wnids` has them. Two are crane, two maillot."""
    file = resources.files("edgecls").joinpath("data/imagenet_labels.txt")
    return tuple(file.read_text("utf-8").splitlines())


def cifar10() -> tuple[str, ...]:
    return ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


#: What the first of 1001 outputs stands for.
BACKGROUND = "background"

#: Labels that go by a name.
KNOWN: dict[str, Callable[[], tuple[str, ...]]] = {"imagenet": imagenet, "cifar10": cifar10}


def published(spec: ModelSpec) -> tuple[str, ...]:
    """Of the row's published weights: those of CIFAR-10 for a row of CIFAR, ImageNet's for all others."""
    (labels,) = (labels() for labels in KNOWN.values() if len(labels()) == spec.classes)
    return labels


def read(source: str | Path) -> tuple[str, ...]:
    """One of `KNOWN`, or what is in a UTF-8 file with one label a line.

    Raises BadFile, UsageError: a line without a label, but for the end.
    """
    if source in KNOWN:
        return KNOWN[source]()
    path = Path(source)
    if not path.is_file():
        raise BadFile(f"no labels {str(source)!r}; give a file with one a line, or {' or '.join(KNOWN)}")
    if path.stat().st_size > _LONGEST:
        raise BadFile(f"{path.name} is no file of labels: it has {path.stat().st_size:,} bytes")
    content = path.read_bytes()
    try:
        lines = [line.strip() for line in content.decode("utf-8-sig").rstrip().split("\n")]
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadFile(f"{path.name} is not UTF-8 in line {line}; save it as UTF-8") from error
    empty = [str(number) for number, line in enumerate(lines, start=1) if not line]
    if empty:
        raise UsageError(f"{path.name} has no label in line {_some(empty)}; name all classes, one a line")
    return tuple(lines)


def check(labels: Sequence[str] | None, classes: int) -> None:
    """Raise UsageError where `labels` are there and not as many as classes. Line n of a file is label n."""
    if labels is None or len(labels) == classes:
        return
    lines: dict[str, int] = {}
    again = []
    for number, label in enumerate(labels, start=1):
        if lines.setdefault(label, number) != number:
            again.append(f"{number} is {label!r} as line {lines[label]}")
    repeated = f"; line {_some(again)}" if len(again) == len(labels) - classes else ""
    raise UsageError(f"--labels names {len(labels)} classes, the model has {classes}{repeated}")


def fit(labels: Sequence[str] | None, classes: int) -> tuple[str, ...] | None:
    """`labels` of as many outputs: ImageNet's thousand get one for the background before them where a model
    has 1001. Raises UsageError as `check` does."""
    if labels is not None and (len(labels), classes) == (len(imagenet()), len(imagenet()) + 1):
        return (BACKGROUND, *labels)
    check(labels, classes)
    return labels and tuple(labels)


def _some(items):
    """The first three, and how many more."""
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more
