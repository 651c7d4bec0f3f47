"""What a model file says of itself to those who run it: labels, how pictures become input, a name.

    found = read("mobilenet_v2-int8.tflite")
    found.labels[best]
    write("theirs.tflite", dataclasses.replace(found, labels=("cat", "dog")))

In .tflite it is TFLite metadata, as MediaPipe and the TensorFlow Lite libraries of phones read it; in
.onnx the properties that ONNX has for it. What else a file carries stays, byte for byte.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from edgecls import artifact
from edgecls import labels as names
from edgecls.errors import BadFile, UsageError


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """None is what a file does not say.

    input: how pictures become input, in words. labels: of the outputs, in order.
    mean, std: input is `(pixel - mean) / std` of pixels 0..255, one number or one per channel; where the
    input is quantized, that is quantized then. color: the order of channels; a .tflite can only say that
    it is "other" than rgb.
    missing: files that it lists and does not carry. kept: names of what else it carries, which `write`
    leaves as it is: files in the zip and custom metadata of a .tflite, other properties of an .onnx.
    """

    name: str | None = None
    description: str | None = None
    version: str | None = None
    author: str | None = None
    licence: str | None = None
    input: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    color: Literal["rgb", "bgr", "gray", "other"] | None = None
    labels: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def __post_init__(self):
        counts = [values and len(values) for values in (self.mean, self.std)]
        if counts[0] != counts[1]:
            raise ValueError(
                f"mean and std should be of one number each, or of as many, not {counts[0]} and {counts[1]}"
            )


def read(path: str | Path) -> Metadata | None:
    """What a .tflite or .onnx file says of itself; None where it says nothing.

    Raises BadFile for a file that is missing, damaged or of another kind.
    """
    path = Path(path)
    with opened(path) as (form, data):
        return form.read(data)


def write(path: str | Path, metadata: Metadata, *, to: str | Path | None = None) -> None:
    """Let the file say `metadata` and nothing else, but for what `Metadata.kept` names; at once or not at all.

    to: the file to write, the same by default. Needs one copy of the file on the disk, and no memory for it.
    Raises BadFile as `read` does, and for metadata that a later version of its schema wrote; UsageError
    where the labels are not as many as the outputs.
    """
    path, target = Path(path), Path(to or path).resolve()  # a link stays one
    known = read(path) or Metadata()
    if metadata.labels != known.labels:
        if (count := outputs(path)) is None:
            raise UsageError(f"{path.name} has not one output for each class: labels cannot name them")
        names.check(metadata.labels, count)
    with artifact.writing(target, "wb") as file, opened(path) as (form, data):
        form.write(data, metadata, file)


def outputs(path: str | Path) -> int | None:
    """How many classes the model in a file tells apart; None where it leaves that open. Raises BadFile."""
    path = Path(path)
    with opened(path) as (form, data):
        return form.outputs(data)


class _Bytes(mmap.mmap):
    def seekable(self) -> bool:  # zipfile asks; until Python 3.13 a map has no answer
        return True


@contextmanager
def opened(path: Path) -> Iterator[tuple[ModuleType, mmap.mmap]]:
    """The module of the file's format, and the file's bytes; errors inside become BadFile."""
    if path.is_dir():
        raise BadFile(f"{str(path)!r} is a folder; name a .tflite or .onnx file in it")
    if path.suffix.lower() == ".tflite":
        from edgecls.metadata import tflite as form
    elif path.suffix.lower() == ".onnx":
        from edgecls.metadata import onnx as form
    else:
        raise BadFile(f"{str(path)!r} is no .tflite or .onnx file")
    if not path.is_file():
        raise BadFile(f"no file {str(path)!r}")
    if not os.path.getsize(path):
        raise BadFile(f"{path.name} is empty")
    with open(path, "rb") as file, _Bytes(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            yield form, data
        except (ValueError, LookupError, TypeError, ArithmeticError, struct.error) as error:
            raise BadFile(f"{path.name} is damaged, or no model: {error}") from error
