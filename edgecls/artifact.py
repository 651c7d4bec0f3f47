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
import tempfile
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgecls.errors import BadFile, UsageError
from edgecls.spec import Preprocess

#: Version of the manifest's shape. A reader refuses versions it does not know.
SCHEMA = 2

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
    trait: what decides how it takes quantization, see `exporters.advice`; None where nothing is known.
    notes: what a user must know of the float model, whatever is made of it.
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
    trait: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WeightsInfo:
    """Where the weights come from.

    source: "random", "published", or the file of the user's own. part: of a checkpoint, such as
    "model_ema", where it is no state dict itself. sha256: of the file they were read from; tag, url,
    licence, top1, top5: of published ones, see `WeightSource`; seed: of random ones; reason: why they
    are random, where nobody asked for it.
    """

    source: str
    trained: bool
    part: str | None = None
    sha256: str | None = None
    seed: int | None = None
    tag: str | None = None
    url: str | None = None
    licence: str | None = None
    top1: float | None = None
    top5: float | None = None
    reason: str | None = None

    @property
    def note(self) -> str | None:
        """What a user must be told of random weights."""
        if self.trained:
            return None
        why = f", since {self.reason}" if self.reason else ""
        return f"untrained: random weights of seed {self.seed}{why}; size and speed are real, answers are not"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Of values, all channels together."""

    min: float
    max: float
    mean: float
    std: float


@dataclass(frozen=True, kw_only=True)
class CalibrationInfo:
    """The set that quantization ranges were taken from. digest: sha256 over what was used.

    method: how a range is found in the values of a tensor. pixels: 0..255, before preprocessing; None
    where arrays of floats were given. inputs: what the model was fed.
    """

    source: str
    count: int
    digest: str
    method: str
    pixels: Spread | None
    inputs: Spread
    seed: int | None = None
    skipped: tuple[str, ...] = ()


#: OK: use it. CAUTION: it may have lost accuracy. BROKEN: it does not compute what its model computes.
Verdict = Literal["OK", "CAUTION", "BROKEN"]


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far from its float model a file may be.

    min_sqnr_db: under it the file is BROKEN. ok_sqnr_db, ok_kl: with less SQNR or more divergence it
    is worth a CAUTION.
    """

    min_sqnr_db: float
    ok_sqnr_db: float
    ok_kl: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How close the artifact's logits are to its float model's on `samples` pictures.

    sqnr_db: signal to quantization noise of the logits, dB (None when they are identical);
    cosine: of the angle between both, mean over pictures; max_error: largest difference, in standard
    deviations of the float logits; kl: Kullback-Leibler divergence of the artifact's softmax from
    the float model's, nats, mean over pictures; top1: share of pictures with the same best class;
    top5: share of the float model's five best that are among the artifact's, mean over pictures.
    saturation: by tensor, the share of values at the ends of its type, where that loses something;
    the worst few.
    reason: for the verdict, in words.
    """

    sqnr_db: float | None
    cosine: float
    max_error: float
    kl: float
    top1: float
    top5: float
    saturation: Mapping[str, float]
    samples: int
    pictures: str
    tolerance: Tolerance
    verdict: Verdict
    reason: str

    @property
    def passed(self) -> bool:
        return self.verdict != "BROKEN"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything known about an artifact.

    graph_params, graph_macs: what the file holds; more than the model's own where a lowering stored
    zeros. lowerings: what its graph has gone through, see `exporters.lowerings`.
    reference: the file beside it that has the held-out pictures and the float model's logits.
    notes: what a user must be told, in words.
    """

    file: str
    bytes: int
    sha256: str
    format: str
    precision: str
    recipe: str
    model: ModelInfo
    graph_params: int
    graph_macs: int
    lowerings: tuple[str, ...]
    weights: WeightsInfo
    input: TensorInfo
    output: TensorInfo
    layout: str
    preprocess: Preprocess | None
    calibration: CalibrationInfo | None
    agreement: Agreement
    reference: str
    float_ops: tuple[str, ...]
    notes: tuple[str, ...]
    labels: tuple[str, ...] | None
    options: Mapping[str, Any]
    tools: Mapping[str, str]
    fingerprint: str
    seconds: float
    schema: int = field(default=SCHEMA)


#: Times a model's own MACs that a graph may have without a note.
_HARDLY_MORE = 1.05


def counts_note(own: tuple[int, int], held: tuple[int, int]) -> str | None:
    """What a user must be told of a graph that computes more than its model's own (params, MACs); None
    where it is hardly more."""
    (own_params, own_macs), (params, macs) = own, held
    if macs <= _HARDLY_MORE * own_macs:
        return None
    more = f"{macs / 1e6:.1f} M MACs with {params / 1e6:.2f} M params, zeros included"
    return f"computes {more}; the model has {own_macs / 1e6:.1f} M and {own_params / 1e6:.2f} M"


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
        if _checked(dict, record).get("schema") != SCHEMA:
            raise ValueError(f"schema {record.get('schema')!r} is not {SCHEMA}; use the edgecls that wrote it")
        return decode(Manifest, record)
    except (ValueError, TypeError, OSError) as error:
        raise BadFile(f"{path.name} is not a manifest: {error}") from error


def publish(staged: Path, target: Path, manifest: Manifest) -> Artifact:
    """Move a finished file and its manifest into place, each at once, the manifest last.

    `staged` is on the same disk. All is written before anything is moved: a disk that is full
    leaves what was there before.
    """
    with writing(manifest_path(staged)) as file:
        json.dump(dataclasses.asdict(manifest), file, indent=1, allow_nan=False)
        file.write("\n")
    with open(staged, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(staged, target)
    os.replace(manifest_path(staged), manifest_path(target))
    return Artifact(target, read_manifest(manifest_path(target)))


@contextlib.contextmanager
def writing(target: Path, mode: Literal["w", "wb"] = "w") -> Iterator[Any]:
    """A file, of text or bytes, that takes the place of `target` when the block ends well, and never half-way."""
    how = {"encoding": "utf-8", "newline": "\n"} if mode == "w" else {}
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with open(partial, mode, **how) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def check_writable(folder: Path, option: str = "--out") -> None:
    """Raise UsageError that names `option` where no file can be written in `folder`.

    The folder need not exist, and is not made.
    """
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to {str(folder)!r}: {error.strerror}; choose another with {option}") from error


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def decode(kind, value):
    """`value` from JSON as the annotated type `kind`, strictly.

    Raises TypeError or ValueError where it is anything else.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (kind,) = [a for a in arguments if a is not type(None)]
        return decode(kind, value)
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(f"expected one of {', '.join(map(str, arguments))}, got {value!r}")
        return value
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        for name in sorted(set(hints) ^ set(_checked(dict, value))):
            raise ValueError(f"{'no' if name in hints else 'unknown'} field {name!r}")
        return kind(**{name: decode(hints[name], item) for name, item in value.items()})
    if origin is tuple:
        kinds = [arguments[0]] * len(_checked(list, value)) if arguments[-1] is ... else arguments
        return tuple(decode(kind, item) for kind, item in zip(kinds, value, strict=True))
    if origin is Mapping:
        return {decode(arguments[0], key): decode(arguments[1], item) for key, item in _checked(dict, value).items()}
    if kind is float and type(value) is int:
        return float(value)
    return _checked(kind, value)


def _checked(kind, value):
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {value!r}")
    return value
