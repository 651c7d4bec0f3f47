"""What a float model says to held-out pictures, kept beside its artifacts: they are judged by it anywhere."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecls.errors import BadFile

#: Options of an export that decide what the float model is.
_IDENTITY = ("model", "weights", "classes", "input_size")


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """Held-out pictures and the float model's logits.

    pictures: uint8 pixels (count, height, width, channels), or float32 in the model's own space.
    logits: float32 (count, classes). words: which pictures they are. model: see `identity`.
    """

    pictures: np.ndarray
    logits: np.ndarray
    words: str
    model: Mapping[str, Any]


def identity(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of the options that an artifact was exported with, those that decide what its float model is."""
    return {name: options.get(name) for name in _IDENTITY}


def write(path: Path, reference: Reference) -> None:
    """As an .npz; the file is there when it is whole."""
    about = json.dumps({"words": reference.words, "model": dict(reference.model)})
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            np.savez_compressed(
                file, pictures=reference.pictures, logits=reference.logits, about=np.array(about)
            )
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path) -> Reference:
    """Raises BadFile."""
    if not path.is_file():
        raise BadFile(f"no file {str(path)!r}")
    try:
        with contextlib.closing(np.load(path, allow_pickle=False)) as arrays:
            pictures, logits, about = (arrays[name] for name in ("pictures", "logits", "about"))
        if pictures.ndim != 4 or logits.ndim != 2 or len(pictures) != len(logits):
            raise ValueError(f"pictures {pictures.shape} and logits {logits.shape} do not belong together")
        return Reference(pictures=pictures, logits=logits, **json.loads(str(about)))
    except Exception as error:  # numpy, zipfile, zlib and json each raise their own
        raise BadFile(f"{path.name} is not a reference that edgecls export wrote: {error}") from error


def is_of(path: Path, model: Mapping[str, Any], pictures: np.ndarray) -> bool:
    """Whether the reference at `path` is there, and of this model on these pictures."""
    try:
        kept = read(path)
    except BadFile:
        return False
    return kept.model == model and np.array_equal(kept.pictures, pictures)
