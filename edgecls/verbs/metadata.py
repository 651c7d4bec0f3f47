"""What model files say of themselves, shown and changed."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecls import artifact, metadata
from edgecls import labels as names
from edgecls.errors import UnknownName, UsageError
from edgecls.metadata import Metadata, phones
from edgecls.verbs import publication

#: What can be set: words, and how pictures become input.
WORDS = ("name", "description", "version", "author", "licence", "input")
_NUMBERS, _COLORS = ("mean", "std"), ("rgb", "bgr", "gray")
KEYS = (*WORDS, *_NUMBERS, "color")


@dataclass(frozen=True, kw_only=True)
class Carried:
    """metadata: None where the file carries none. outputs: see `metadata.outputs`. remarks: what phones
    make of it, in words."""

    file: str
    outputs: int | None
    metadata: Metadata | None
    remarks: tuple[str, ...]


def carried(file: str | Path) -> Carried:
    """What a .tflite or .onnx file says of itself. Raises BadFile."""
    file = Path(file)
    found = metadata.read(file)
    said = tuple(phones.remarks(file, found)) if file.suffix.lower() == ".tflite" else ()
    return Carried(file=str(file), outputs=metadata.outputs(file), metadata=found, remarks=said)


def change(
    file: str | Path, *, labels: str | Path | None = None, settings: Mapping[str, str] | Sequence[str] = ()
) -> Carried:
    """Let a file say other things of itself; what it computes stays as it is, bit for bit.

    labels: see `labels.read`; as many as the model's outputs, ImageNet's thousand also where a background
    stands before them. settings: "KEY=VALUE", see `KEYS`; an empty value takes it away. mean and std: of
    pixels 0..255, one number or one per channel by commas.
    A manifest beside the file follows. Raises BadFile, UnknownName, UsageError.
    """
    file = Path(file)
    manifest = artifact.load(file).manifest if artifact.manifest_path(file).is_file() else None
    known = metadata.read(file) or Metadata()
    new = dataclasses.replace(known, missing=(), **_parsed(file, settings, known, own=manifest is not None))
    if labels is not None:
        count = metadata.outputs(file)
        given = names.read(labels)
        new = dataclasses.replace(new, labels=given if count is None else names.fit(given, count))
    if manifest is None:
        metadata.write(file, new)
    else:
        with tempfile.TemporaryDirectory(prefix=".metadata-", dir=file.parent) as folder:
            staged = Path(folder, file.name)
            metadata.write(file, new, to=staged)
            follows = dataclasses.replace(manifest, labels=new.labels)
            artifact.publish(staged, file, publication.of_file(staged, follows))
    return carried(file)


def _parsed(file, settings, known, *, own):
    """Fields of Metadata. own: whether a manifest says how pictures become input."""
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if key not in KEYS:
            raise UnknownName("key of --set", key, KEYS)
        if not equals:
            raise UsageError(f"--set {setting}: expected {key}=VALUE; an empty VALUE takes it away")
        if key in values:
            raise UsageError(f"--set {key} is given twice")
        if own and key not in WORDS:
            raise UsageError(
                f"--set {key}: {file.name} was verified with its own; export it again with --preprocess"
            )
        values[key] = value.strip() or None
    if values.get("color") not in (None, *_COLORS):
        raise UnknownName("color of --set", values["color"], _COLORS)
    for key in _NUMBERS:
        if values.get(key) is not None:
            values[key] = _numbers(key, values[key])
    counts = [len(values.get(key, getattr(known, key)) or ()) for key in _NUMBERS]
    if counts[0] != counts[1]:
        raise UsageError(f"--set: mean has {counts[0]} numbers and std {counts[1]}; give both, of as many")
    return values


def _numbers(key, text):
    try:
        found = tuple(float(number) for number in text.split(","))
    except ValueError:
        found = ()
    least = 0 if key == "mean" else 1e-6
    if len(found) not in (1, 3) or not all(least <= number < math.inf for number in found):
        wanted = "1 number of pixels 0..255, or 3 with commas between" + (
            "" if key == "mean" else ", none of them 0"
        )
        raise UsageError(f"--set {key}={text}: expected {wanted}")
    return found
