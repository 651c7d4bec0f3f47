"""What can be exported: a row of the zoo, a Keras model of the user's, a float .tflite or .onnx."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgecls import artifact, builder, metadata, pretrained, registry
from edgecls import labels as names
from edgecls import weights as weights_files
from edgecls.errors import BadFile, UsageError
from edgecls.exporters import preprocessing
from edgecls.finetuning import record
from edgecls.finetuning.record import Training
from edgecls.pretrained import Choice
from edgecls.spec import PREPROCESS, ModelSpec, Preprocess

_KINDS = {".keras": "keras", ".h5": "keras", ".hdf5": "keras", ".tflite": "tflite", ".onnx": "onnx"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """One thing to export.

    name: of the folder and the files that are made. digest: identifies the weights; empty before
    published ones are here. spec: the row, where it is one; path: the model or weights file, where
    there is one; part: the dictionary in a checkpoint that its weights are in; choice: of the row's
    weights, where they are in no file of the user's own. given_labels: of --labels, or the
    file's own metadata. preprocess: None
    where nobody said how pictures become this model's input.
    custom, unsafe: see `keras_file.load`. notes: what a user must be told of a file. training: what
    `edgecls finetune` wrote into it.
    """

    kind: Literal["row", "keras", "tflite", "onnx"]
    name: str
    digest: str
    preprocess: Preprocess | None
    spec: ModelSpec | None = None
    path: Path | None = None
    part: str = ""
    choice: Choice = Choice()
    given_labels: tuple[str, ...] | None = None
    classes: int | None = None
    input_size: int | None = None
    seed: int | None = None
    custom: tuple[str, ...] = ()
    unsafe: bool = False
    notes: tuple[str, ...] = ()
    training: Training | None = None

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes, where anybody said them."""
        if self.given_labels or self.training:
            return self.given_labels or self.training.labels
        return names.published(self.spec) if self.choice.published else None

    @property
    def tier(self) -> str | None:
        spec = registry.get(self.training.model) if self.training else self.spec
        return spec and str(spec.tier)

    @property
    def reference(self) -> str:
        """What was exported, in words."""
        if self.training:
            return f"{self.training.model} trained on {self.training.data}"
        return self.spec.reference if self.spec else str(self.path)

    @property
    def formats(self) -> tuple[str, ...]:
        """Formats that can be made of it."""
        return (self.kind,) if self.kind in ("tflite", "onnx") else ("tflite", "onnx")

    @property
    def file(self) -> dict[str, Any]:
        """Keyword arguments of `keras_file.load`."""
        return {"path": str(self.path), "input_size": self.input_size, "custom": self.custom, "unsafe": self.unsafe}

    def custom_code(self) -> dict[str, str | None]:
        """The digest of the file that each of `custom` is in, where that is a file of the current folder."""
        files = {entry: Path(*entry.partition(":")[0].split(".")).with_suffix(".py") for entry in self.custom}
        return {entry: artifact.sha256(file) if file.is_file() else None for entry, file in files.items()}

    @property
    def weights(self) -> artifact.WeightsInfo:
        if published := self.choice.published:
            return artifact.WeightsInfo(
                source="published",
                trained=True,
                sha256=self.digest,
                tag=published.tag,
                url=published.url,
                licence=published.licence,
                top1=published.top1,
                top5=published.top5,
            )
        if self.path is None:
            reason = self.choice.reason
            return artifact.WeightsInfo(source="random", trained=False, seed=self.seed, reason=reason)
        licence = self.training and self.training.weights.licence  # of what it began with
        file, part = str(self.path), self.part or None
        return artifact.WeightsInfo(source=file, part=part, trained=True, sha256=self.digest, licence=licence)

    def weights_notes(self) -> Iterator[str]:
        """What a user must be told of trained weights."""
        if self.part:
            yield f"the weights are those of {self.part} in {self.path.name}"
        published = self.choice.published
        if published and published.top1 and published.preprocess.crop != self.input_size:
            size = published.preprocess.crop
            yield f"{published.tag} has its published accuracy at {size}x{size}, with --input-size {size}"
        licence = self.weights.licence or ""
        if "-nc" in licence:
            yield f"the licence of {published.tag if published else 'the first weights'} is {licence}: not for commercial use"

    def trained(self, sha256: str, path: Path | None = None) -> Source:
        """With the published weights that were chosen, which have this digest and are in this file."""
        return dataclasses.replace(self, digest=sha256, path=path)

    def untrained(self, reason: str) -> Source:
        """With random weights in place of the published ones that were chosen."""
        return dataclasses.replace(
            self,
            digest=f"random {self.seed} in place of {self.choice.published.tag}",
            preprocess=self.spec.preprocess.at(self.input_size),
            choice=Choice(reason=reason),
        )


def resolve(
    target: str | Path,
    *,
    weights: str | Path = pretrained.AUTO,
    classes: int | None = None,
    input_size: int | None = None,
    preprocess: preprocessing.Said = None,
    custom: Sequence[str] = (),
    unsafe: bool = False,
    labels: str | Path | None = None,
    seed: int = 0,
) -> Source:
    """Find what `target` names. Raises UnknownName, BadFile, UsageError; imports no framework.

    classes, weights and seed go with a row; preprocess (see `preprocessing.parse`), custom and unsafe
    (see `keras_file.load`) with a model file; input_size with a row, or a file of any size; labels (see
    `labels.read`) with all. A weights file says the classes of a row itself.
    """
    if seed < 0:
        raise UsageError(f"--seed must be at least 0, got {seed}")
    path = Path(target)
    # Rows of source `keras` have names like those of files; `--out .` makes folders named like rows.
    is_row = any(str(target) in row.names for row in registry.rows()) and not path.is_file()
    if is_row or not (path.exists() or path.suffix.lower() in _KINDS):
        for option, value in (("--preprocess", preprocess), ("--custom", custom), ("--unsafe", unsafe)):
            if value:
                raise UsageError(f"{option} is for model files; {target} is an architecture")
        found = _row(registry.get(str(target)), weights, classes, input_size, seed)
        return _named(found, labels)
    for option, value in (("--classes", classes), ("--weights", None if str(weights) == pretrained.AUTO else weights)):
        if value is not None:
            raise UsageError(f"{option} is for architectures; {path.name} has its own")
    return _named(_file(path, _kind(path), input_size, preprocess, custom, unsafe), labels)


def _named(source, labels):
    if labels is None:
        return source
    given = names.read(labels)
    if source.classes:
        given = names.fit(given, source.classes)
    return dataclasses.replace(source, given_labels=given)


def _kind(path):
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise BadFile(f"{str(path)!r} is a folder without saved_model.pb; give a model file or a SavedModel")
        return "keras"
    if path.suffix.lower() not in _KINDS:
        if path.is_file() and weights_files.readable(path):
            how = f"`edgecls export NAME --weights {path.name}` names its architecture; PyTorch can export it to .onnx"
            raise UsageError(f"{path.name} holds weights and no model; {how}")
        raise BadFile(f"cannot export {str(path)!r}; known are {', '.join(_KINDS)} and SavedModel folders")
    if not path.is_file():
        raise BadFile(f"no file {str(path)!r}")
    return _KINDS[path.suffix.lower()]


def _file(path, kind, input_size, preprocess, custom, unsafe):
    if input_size is not None and input_size < 1:
        raise UsageError(f"--input-size must be at least 1, got {input_size}")
    for option, value in (("--custom", custom), ("--unsafe", unsafe)):
        if value and (kind != "keras" or path.is_dir()):
            raise UsageError(f"{option} is for .keras and .h5 files; {path.name} is none")
    for entry in custom:
        module, _, name = entry.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), name)):
            raise UsageError(f"--custom {entry}: expected MODULE:NAME, such as my_layers:MyLayer")
    carried, damaged = None, []
    try:
        carried = metadata.read(path) if kind in ("tflite", "onnx") else None
    except BadFile as error:  # where all of the file is, the work fails
        damaged = [f"the metadata of {path.name} cannot be read, and is left out: {error}"]
    scaled = preprocessing.takes_pixels(preprocessing.first_steps(path))
    training = record.read(path) if path.suffix.lower() == ".keras" else None
    known = preprocessing.carried(carried) if carried else training and training.preprocess
    pixels = scaled and known is None
    told = f"{path.name} scales pixels itself: it takes them as they are, 0..255; --preprocess says otherwise"
    notes = damaged + [told] * (pixels and preprocess is None)
    if carried and known and preprocess is None:
        notes.append(f"{path.name} says itself how pictures become its input; --preprocess says otherwise")
    labels = carried and carried.labels
    if labels and (count := metadata.outputs(path)) and count != len(labels):
        notes.append(f"{path.name} names {len(labels)} classes, and the model has {count}: its names are left out")
        labels = None
    if training and not training.finished:
        notes.append(f"{path.name} was kept when its training was interrupted; finish it with the same edgecls finetune")
    return Source(
        kind=kind,
        name=path.resolve().name.removesuffix(path.suffix),
        digest=_digest(path),
        preprocess=preprocessing.parse(preprocess, PREPROCESS["none"] if pixels else known),
        path=path,
        given_labels=labels,
        input_size=input_size,
        custom=tuple(custom),
        unsafe=unsafe,
        notes=tuple(notes),
        training=training,
    )


def _row(spec, weights, classes, input_size, seed):
    wanted = spec.classes if classes is None else classes
    size = spec.input_size if input_size is None else input_size
    builder.check_sizes(spec, classes=wanted, input_size=size)
    choice, path, part = pretrained.choose(spec, weights, classes=wanted), None, ""
    if choice is None:
        choice, path = Choice(), Path(weights)
        tensors, part = weights_files.open_file(path)
        wanted = weights_files.classes(tensors, spec, classes)
    training = record.read(path) if path and path.suffix.lower() == ".keras" else None
    return Source(
        kind="row",
        name=registry.shortest_name(spec),
        digest=_digest(path) if path else "" if choice.published else f"random {seed}",
        preprocess=(training or choice.published or spec).preprocess.at(size),
        spec=spec,
        path=path,
        part=part,
        choice=choice,
        classes=wanted,
        input_size=size,
        seed=seed,
        training=training,
    )


def _digest(path: Path) -> str:
    """Of a file; of all files in a folder; of an .onnx file and those that it keeps weights in."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
    else:
        files = [path, *_weights_beside(path)]
    if files == [path]:
        return artifact.sha256(path)
    listing = "".join(f"{file.relative_to(path.parent)} {artifact.sha256(file)}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def _weights_beside(path: Path) -> list[Path]:
    """The files that an .onnx file keeps weights in; none of one that cannot be read."""
    if path.suffix.lower() != ".onnx":
        return []
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # whatever protobuf says: that it is damaged is said when it is taken
        return []
    entries = [entry for tensor in model.graph.initializer for entry in tensor.external_data]
    files = {path.parent / entry.value for entry in entries if entry.key == "location"}
    return sorted(file for file in files if file.is_file())
