"""Pictures and their classes: folders, lists, ImageNet's layout. Paths and names only; nothing is decoded."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from edgecls import images
from edgecls.errors import BadFile, UsageError

#: Names of folders that hold parts of a data set.
SPLITS = ("train", "val", "validation", "valid", "test")
#: Unknown names that an error shows.
_SHOWN = 5
_WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Pictures, in a fixed order.

    labels: index of each picture's class; None where nobody said it.
    classes: the name of each index; None where there are no labels, or they came as numbers.
    skipped: files that are no pictures, empty classes, each with the reason.
    """

    source: str
    paths: tuple[Path, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...] | None
    skipped: tuple[str, ...] = ()


def read(
    source: str | Path,
    *,
    classes: Sequence[str] | None = None,
    labels: str | Path | None = None,
    split: str | None = None,
) -> Dataset:
    """What `source` holds: one folder for each class, a folder of pictures, or a list.

    A list is a text file of lines "path class", by comma, tab or space, paths relative to it; a
    class is a name or an index. Lines without classes are pictures alone.
    classes: names in the order of their indices; by default the folders or names found, sorted
    (numbers as numbers), and all 1000 of ImageNet where each is a wnid of it (n01440764, ...).
    labels: for a folder of pictures: a list as above, or the classes alone, one a line, in the
    order of the file names.
    split: which of the folders train, val, ... in `source` is meant.
    Raises BadFile, UsageError: nothing there, no picture, classes that are not known.
    """
    path = Path(source)
    if split is not None:
        path = _split(path, split)
    if path.is_file():
        if labels is not None:
            raise UsageError(
                f"{path.name} is a list, which has its own classes; labels go with a folder of pictures"
            )
        return _listed(str(source), *_entries(path, path.parent), classes)
    if not path.is_dir():
        raise BadFile(f"no folder or list {str(path)!r}")
    found, skipped = _pictures(path)
    if not found:
        suffixes = ", ".join(sorted(images.SUFFIXES))
        raise UsageError(f"no picture in {str(path)!r}; it should hold files of {suffixes}")
    folders = {picture.relative_to(path).parts[0] for picture in found if picture.parent != path}
    if labels is not None:
        if folders:
            example = f"the folder {sorted(folders)[0]!r}"
            raise UsageError(f"labels go with pictures in one folder; {str(path)!r} has {example}")
        entries, more = _labelled(found, Path(labels))
        return _listed(str(source), entries, skipped + more, classes)
    if not folders:
        return Dataset(
            source=str(source), paths=tuple(found), labels=None, classes=None, skipped=tuple(skipped)
        )
    if folders <= set(SPLITS):
        raise UsageError(
            f"{str(path)!r} has the parts {', '.join(sorted(folders))}; say which, with split or its path"
        )
    entries = []
    for picture in found:
        if picture.parent == path:
            skipped.append(f"{picture.name} is in no class's folder")
        else:
            entries.append((picture, picture.relative_to(path).parts[0]))
    with os.scandir(path) as inside:
        empty = {one.name for one in inside if one.is_dir() and not one.name.startswith(".")} - folders
    skipped += [f"{name}/ has no picture" for name in sorted(empty)]
    return _listed(str(source), entries, skipped, classes or _classes(folders))


@functools.cache
def imagenet_wnids() -> tuple[str, ...]:
    """WordNet ids of the 1000 classes of ILSVRC 2012, in the order of models' outputs."""
    return tuple(resources.files("edgecls").joinpath("data/imagenet_wnids.txt").read_text("ascii").split())


def _split(path, split):
    if not path.is_dir():
        raise BadFile(f"no folder {str(path)!r}")
    if not (path / split).is_dir():
        there = sorted(one.name for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))
        raise UsageError(f"no folder {split!r} in {str(path)!r}; it has {_some(there) or 'none'}")
    return path / split


def _pictures(folder):
    """(pictures, why others were skipped)."""
    found, skipped = [], []
    for path in images.files_in(folder):
        if path.suffix.lower() in images.SUFFIXES:
            found.append(path)
        else:
            skipped.append(f"{path.relative_to(folder)} is no picture")
    return found, skipped


def _lines(path) -> list[tuple[int, str]]:
    """Lines that are not blank, and their numbers."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{str(path)!r} cannot be read as a list: {error}") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line]
    if not lines:
        raise BadFile(f"{str(path)!r} is empty")
    return lines


def _entries(path, root):
    """([(picture, class or None)], skipped) of the list at `path`, whose paths are relative to `root`."""
    entries, skipped = [], []
    for number, line in _lines(path):
        name, label = _fields(line)
        picture = root / name
        if picture.suffix.lower() not in images.SUFFIXES:
            skipped.append(f"line {number} of {path.name}, {line!r}, names no picture")
        elif not picture.is_file():
            skipped.append(f"no file {str(picture)!r}")
        else:
            entries.append((picture, label))
    if not entries:
        raise UsageError(
            f"no picture in {str(path)!r}, only {skipped[0]}; expected lines of a path and a class"
        )
    missing = sum(label is None for _, label in entries)
    if 0 < missing < len(entries):
        name = next(picture.name for picture, label in entries if label is None)
        raise UsageError(
            f"{path.name} has no class for {missing} of {len(entries)} pictures, {name} the first"
        )
    return entries, skipped


def _fields(line) -> tuple[str, str | None]:
    """(path, class): the class comes last; it may be left out, and the path may have spaces."""
    if Path(line).suffix.lower() in images.SUFFIXES:
        return line, None
    for separator in (",", "\t", None):
        name, *label = line.rsplit(separator, 1)
        if label:
            return name.strip(), label[0].strip()
    return line, None


def _labelled(found, path):
    """([(picture, class)], skipped): the pictures of a folder and the file of their classes."""
    if not path.is_file():
        raise BadFile(f"no file {str(path)!r}")
    lines = [line for _, line in _lines(path)]
    if any(
        _fields(line)[0] != line and Path(_fields(line)[0]).suffix.lower() in images.SUFFIXES
        for line in lines
    ):
        entries, skipped = _entries(path, found[0].parent)
        named = {picture for picture, _ in entries}
        without = [picture.name for picture in found if picture not in named]
        if without:
            missing = f"{len(without)} of {len(found)} pictures, {without[0]} the first"
            raise UsageError(f"{path.name} has no class for {missing}")
        return entries, skipped
    if len(lines) != len(found):
        counts = f"{len(lines)} lines, its folder {len(found)} pictures"
        raise UsageError(f"{path.name} has {counts}; expected one line for each")
    if all(line.isdecimal() for line in lines) and "0" not in lines and "1000" in lines:
        raise UsageError(
            f"{path.name} numbers classes from 1 to 1000, as ImageNet's development kit does in an order "
            "of its own; give wnids (n01440764), or indices from 0 in their order"
        )
    return list(zip(found, lines, strict=True)), []


def _listed(source, entries, skipped, classes) -> Dataset:
    """The data set of [(picture, class or None)]."""
    if not entries:
        raise UsageError(f"no picture of {source!r} is in a class's folder")
    paths, names = zip(*entries, strict=True)
    if None in names:
        return Dataset(source=source, paths=paths, labels=None, classes=None, skipped=tuple(skipped))
    found = set(names)
    numbered = all(name.isdecimal() for name in found)
    if classes is None and not numbered:
        classes = _classes(found)
    if numbered and not found <= set(classes or ()):
        labels = tuple(map(int, names))
        if classes is not None and max(labels) >= len(classes):
            raise UsageError(f"{source!r} has class {max(labels)}; there are {len(classes)}, numbered from 0")
    else:
        index = {name: number for number, name in enumerate(classes)}
        if unknown := sorted(found - index.keys()):
            raise UsageError(
                f"{source!r} has classes that are not known: {_some(unknown)}; known are {_some(classes)}"
            )
        labels = tuple(index[name] for name in names)
    return Dataset(
        source=source,
        paths=paths,
        labels=labels,
        classes=None if classes is None else tuple(classes),
        skipped=tuple(skipped),
    )


def _classes(names) -> Sequence[str]:
    """The classes that `names` are of, in order."""
    known = imagenet_wnids()
    if set(names) <= set(known):
        return known
    return sorted(names, key=int if all(name.isdecimal() for name in names) else None)


def _some(names) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else "")
