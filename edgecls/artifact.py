"""The artifact: a model file and the manifest that says how it was made and how to feed it.

The manifest stands beside the file as `<file>.json`. It is written last; a file without one, or
one whose digest differs, is not an artifact.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecls.errors import BadFile, UsageError
from edgecls.spec import Preprocess

#: Version of the manifest's shape. A reader refuses versions it does not know.
SCHEMA = 1

#: Where artifacts are written and looked for unless another folder is named.
FOLDER = "artifacts"


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One end of the graph. A quantized value q stands for scale * (q - zero_point)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What was exported. source: the row's source, or "file" for a model of the user's own.

    params: trainable parameters; folded_params: those left in the graph once batch norms are
    folded; macs: per picture. None where the float model was given as a file without them.
    """

    name: str
    source: str
    reference: str
    classes: int
    input_size: tuple[int, int]
    params: int | None
    folded_params: int | None
    macs: int | None
    tier: str | None = None


@dataclass(frozen=True, kw_only=True)
class WeightsInfo:
    """Where the weights come from. sha256: of the file they were read from; seed: of random ones."""

    source: str
    trained: bool
    sha256: str | None = None
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class CalibrationInfo:
    """The set that quantization ranges were taken from. digest: sha256 over what was used."""

    source: str
    count: int
    digest: str
    seed: int | None = None
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How close the artifact's logits are to its float model's on `samples` pictures.

    sqnr_db: signal to quantization noise of the logits, dB (None when they are identical);
    max_error: largest difference, in standard deviations of the float logits; top1: share of
    pictures with the same best class, 0..1. `min_sqnr_db` is the recipe's tolerance.
    """

    sqnr_db: float | None
    max_error: float
    top1: float
    samples: int
    pictures: str
    min_sqnr_db: float
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything known about an artifact. notes: what a user must be told, in words."""

    file: str
    bytes: int
    sha256: str
    format: str
    precision: str
    recipe: str
    model: ModelInfo
    weights: WeightsInfo
    input: TensorInfo
    output: TensorInfo
    layout: str
    preprocess: Preprocess | None
    calibration: CalibrationInfo | None
    agreement: Agreement
    float_ops: tuple[str, ...]
    notes: tuple[str, ...]
    labels: tuple[str, ...] | None
    options: Mapping[str, Any]
    tools: Mapping[str, str]
    fingerprint: str
    seconds: float
    schema: int = field(default=SCHEMA)


@dataclass(frozen=True)
class Artifact:
    path: Path
    manifest: Manifest


def manifest_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def load(path: str | Path) -> Artifact:
    """The artifact at `path`. Raises BadFile: no file, no manifest, or one of another file."""
    path = Path(path)
    if not path.is_file():
        raise BadFile(f"no file {str(path)!r}")
    beside = manifest_path(path)
    if not beside.is_file():
        raise BadFile(f"{path.name} has no manifest {beside.name} beside it; it was not made by edgecls export")
    manifest = read_manifest(beside)
    if manifest.bytes != path.stat().st_size or manifest.sha256 != sha256(path):
        raise BadFile(f"{beside.name} describes another {path.name}; export it again")
    return Artifact(path, manifest)


def read_manifest(path: Path) -> Manifest:
    """Strict: an unknown, missing or ill-typed field is an error. Raises BadFile."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.get("schema") != SCHEMA:
            raise ValueError(f"schema {record.get('schema')!r} is not {SCHEMA}; use the edgecls that wrote it")
        return decode(Manifest, record)
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise BadFile(f"{path.name} is not a manifest: {error}") from error


def publish(staged: Path, target: Path, manifest: Manifest) -> Artifact:
    """Move a finished file into place and write its manifest, each atomically, manifest last."""
    os.replace(staged, target)
    with writing(manifest_path(target)) as file:
        json.dump(dataclasses.asdict(manifest), file, indent=1)
        file.write("\n")
    return Artifact(target, manifest)


@contextlib.contextmanager
def writing(target: Path) -> Iterator[Any]:
    """A text file that takes the place of `target` when the block ends well, and never half-way."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with open(partial, "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def writable_folder(path: Path, option: str = "--out") -> Path:
    """`path`, made if need be. Raises UsageError that names `option` where nothing can be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"cannot write to {str(path)!r}: {error.strerror}; choose another with {option}") from error
    return path


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def decode(kind, value):
    """`value` from JSON as the annotated type `kind`, strictly.

    Raises TypeError, ValueError or AttributeError where it is anything else.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (kind,) = [a for a in arguments if a is not type(None)]
        return decode(kind, value)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        unknown = set(value) - set(hints)
        if unknown:
            raise ValueError(f"unknown field {sorted(unknown)[0]!r}")
        return kind(**{name: decode(hints[name], item) for name, item in value.items()})
    if origin is tuple:
        return tuple(decode(arguments[0], item) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    plain = origin or kind
    if plain in (str, int, float, bool) and (not isinstance(value, plain) or isinstance(value, bool) != (plain is bool)):
        raise TypeError(f"expected {plain.__name__}, got {value!r}")
    return value
