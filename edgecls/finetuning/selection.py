"""Which pictures are trained on, and which are held back to validate on. Nothing is decoded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecls import artifact, dataset
from edgecls.dataset import Dataset
from edgecls.errors import UsageError

#: Folders that may hold pictures to validate on.
_VALIDATION_FOLDERS = ("val", "validation", "valid")
#: Names that a note shows.
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Every picture, the index of its class, and the numbers of those to validate on; see `Plan`."""

    data: str
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    validation: tuple[int, ...]

    def digest(self) -> str:
        """sha256 over what is in the pictures, their classes and which are held back."""

        def content(path):
            try:
                return artifact.sha256(Path(path))
            except OSError:  # named and left out when it is its turn to be decoded
                return "unreadable"

        with ThreadPoolExecutor() as pool:
            pictures = list(zip(pool.map(content, self.paths), self.labels, strict=True))
        text = json.dumps([pictures, self.classes, self.validation])
        return hashlib.sha256(text.encode()).hexdigest()


def select(data: str | Path, *, validation: float, seed: int, on_note: Callable[[str], None]) -> Selection:
    """The pictures of `data`, see `dataset.read`: in a folder for each class, or these in train/ and val/.

    validation: share of each class to hold back, one picture at least and not all, where no folder
    holds pictures for it. Raises BadFile, UsageError.
    """
    found, held = _read(Path(data))
    for part in filter(None, (found, held)):
        if part.labels is None:
            raise UsageError(f"no class folders in {part.source!r}; it should hold one folder of pictures for each class")
        if part.skipped:
            more = f" and {len(part.skipped) - _SHOWN} more" if part.skipped[_SHOWN:] else ""
            on_note(f"left out of {part.source}: {', '.join(part.skipped[:_SHOWN])}{more}")
    used = sorted(set(found.labels))  # folders named by wnids come with all 1000 classes of ImageNet
    classes = tuple(found.classes[label] if found.classes else str(label) for label in used)
    if len(used) < 2:
        raise UsageError(f"{found.source!r} has one class, {classes[0]!r}; a classifier needs two")
    labels = [used.index(label) for label in found.labels]
    if held is None:
        for name, count in zip(classes, np.bincount(labels), strict=True):
            if count < 2:
                raise UsageError(f"class {name!r} has one picture; it needs two, to train and to validate on")
        paths, numbers = found.paths, _split(labels, validation, seed)
    else:
        if unknown := set(held.labels) - set(used):
            name = held.classes[min(unknown)] if held.classes else min(unknown)
            raise UsageError(f"{held.source!r} has pictures of {str(name)!r}, to train on there are none")
        labels += [used.index(label) for label in held.labels]
        paths, numbers = (*found.paths, *held.paths), range(len(found.paths), len(labels))
    return Selection(
        data=found.source,
        paths=tuple(map(str, paths)),
        labels=tuple(labels),
        classes=classes,
        validation=tuple(numbers),
    )


def _read(folder: Path) -> tuple[Dataset, Dataset | None]:
    """Pictures to train on, and those to validate on where a folder of their own holds them."""
    inside = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    held = next((name for name in _VALIDATION_FOLDERS if name in inside), None)
    if "train" not in inside or not (held or inside <= set(dataset.SPLITS)):  # a class may be called train
        return dataset.read(folder), None
    found = dataset.read(folder / "train")
    return found, held and dataset.read(folder / held, classes=found.classes)


def _split(labels, share, seed) -> list[int]:
    """Numbers of a `share` of each class, one at least and not all."""
    rng, held = np.random.default_rng(seed), []
    for label in range(max(labels) + 1):
        numbers = rng.permutation(np.flatnonzero(np.equal(labels, label)))
        held += numbers[: np.clip(round(share * len(numbers)), 1, len(numbers) - 1)].tolist()
    return sorted(held)
