"""How pictures become the input of a model file: as the user says it, or as its first layers show."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from edgecls import keras_file, registry
from edgecls.errors import EdgeclsError, UnknownName, UsageError
from edgecls.metadata import Metadata
from edgecls.spec import PREPROCESS, Preprocess

#: (factor, offset) of an operation that makes `factor * x + offset` of its input: a number, or one per channel.
Step: TypeAlias = "tuple[float | Sequence[float], float | Sequence[float]]"

#: Preprocessing as a user gives it: a record, a name, "KEY=VALUE", or several of these, the name first.
Said: TypeAlias = Preprocess | str | Sequence[str] | None

_CHOICES = {"color": ("rgb", "bgr", "gray"), "interpolation": ("bilinear", "bicubic")}
_KEYS = tuple(field.name for field in dataclasses.fields(Preprocess))
#: What "KEY=VALUE" looks like, for errors.
EXAMPLE = "mean=123.675,116.28,103.53 and std=58.395,57.12,57.375"


def parse(said: Said, known: Preprocess | None = None) -> Preprocess | None:
    """The record that `said` stands for; `known` where nothing was said.

    A name is one of Keras's ("tf", "torch", "caffe", "unit", "none") or "like:NAME" for that of an
    architecture. "KEY=VALUE" sets a field of Preprocess, on top of the name or of what is known.
    mean and std, one number or one per channel, are of pixels 0..255; where std is below 1, as
    PyTorch has it, they are of 0..1. Raises UnknownName, UsageError.
    """
    if said is None or isinstance(said, Preprocess):
        return said or known
    values: dict[str, str] = {}
    for place, word in enumerate([said] if isinstance(said, str) else said):
        key, equals, text = word.partition("=")
        if not equals and place == 0:
            known = _named(word)
        elif not equals:
            raise UsageError(f"--preprocess {word} comes behind others; give a name first, and one at most")
        elif key not in _KEYS:
            raise UnknownName("key of --preprocess", key, _KEYS)
        elif key in values:
            raise UsageError(f"--preprocess {key} is given twice")
        else:
            values[key] = text
    if known is None and not {"mean", "std"} <= values.keys():
        raise UsageError(f"--preprocess {word} is not enough; give mean and std, or a name such as torch before it")
    return _record(known or PREPROCESS["none"], values) if values else known


def carried(metadata: Metadata) -> Preprocess | None:
    """What a file's own metadata says, resized and cropped as `PREPROCESS` does it; None where it does not."""
    if metadata.mean is None or metadata.color == "other":
        return None
    color = metadata.color or "rgb"
    count = 1 if color == "gray" else 3
    mean, std = (values * (count if len(values) == 1 else 1) for values in (metadata.mean, metadata.std))
    if len(mean) != count:
        return None
    return dataclasses.replace(PREPROCESS["none"], mean=mean, std=std, color=color)


def _named(word):
    if word.startswith("like:"):
        return registry.get(word.removeprefix("like:")).preprocess
    if word not in PREPROCESS:
        raise UnknownName("preprocessing", word, [*PREPROCESS, "like:NAME", "KEY=VALUE"])
    return PREPROCESS[word]


def _record(known, values):
    """`known` with the values of `values`, still text, in place of its own."""
    for key in values.keys() & _CHOICES.keys():
        if values[key] not in _CHOICES[key]:
            raise UnknownName(f"{key} of --preprocess", values[key], _CHOICES[key])
    sizes = {key: _pixels(key, values[key]) for key in values.keys() & {"resize", "crop"}}
    chosen = {key: values[key] for key in values.keys() & _CHOICES.keys()}
    channels = 1 if chosen.get("color", known.color) == "gray" else 3
    numbers = {key: _numbers(key, values[key]) if key in values else getattr(known, key) for key in ("mean", "std")}
    if "std" in values and max(numbers["std"]) < 1:
        numbers = {key: tuple(255 * n for n in found) if key in values else found for key, found in numbers.items()}
    for key, found in numbers.items():
        if len(set(found)) == 1:
            numbers[key] = found[:1] * channels
        elif len(found) != channels:
            raise UsageError(f"--preprocess {key} has {len(found)} numbers, the picture {channels} channels")
    largest = max(numbers["mean"])
    if 0 < largest <= 1 or largest > 255:
        raise UsageError("--preprocess mean and std are not of the same pixels; give both of 0..255 or both of 0..1")
    try:
        return dataclasses.replace(known, **chosen, **sizes, **numbers)
    except ValueError as error:
        raise UsageError(f"--preprocess: {error}; give resize and crop") from error


def _numbers(key, text):
    try:
        found = tuple(float(number) for number in text.split(","))
    except ValueError:
        found = ()
    least = 0 if key == "mean" else 1e-6
    if not found or not all(least <= number < float("inf") for number in found):
        wanted = "numbers of pixels 0..255 with commas between" + ("" if key == "mean" else ", none of them 0")
        raise UsageError(f"--preprocess {key}={text}: expected {wanted}, such as {EXAMPLE}")
    return found


def _pixels(key, text):
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--preprocess {key}={text}: expected a number of pixels")
    return int(text)


def takes_pixels(steps: Iterable[Step]) -> bool:
    """Whether what a model does first with its input shows, for sure, that this is pixels of 0..255.

    It is sure where the steps bring them to a range around 0 as networks have it, or subtract a mean
    colour from them.
    """
    import numpy as np

    factor, offset = np.float64(1), np.float64(0)
    for more, shift in steps:
        factor, offset = factor * np.ravel(more), offset * np.ravel(more) + np.ravel(shift)
    ends = np.array([offset, 255 * factor + offset])
    scaled = np.abs(ends).max() <= 8 and np.ptp(ends, axis=0).min() >= 0.5
    return bool(scaled or (np.all(factor == 1) and -200 < np.min(offset) <= np.max(offset) < -50))


def first_steps(path: Path) -> Iterator[Step]:
    """What the model in a file does first with its input, as far as it is known; uint8 pictures count as scaled.

    Nothing is known of a SavedModel. Raises BadFile for a Keras file that is damaged.
    """
    if path.is_dir():
        return iter(())
    return _graph_steps(path) if path.suffix.lower() in (".tflite", ".onnx") else _keras_steps(path)


def _keras_steps(path):
    import numpy as np

    config = keras_file.config(path)
    try:
        for layer in keras_file.layers(config):
            kind, options = layer["class_name"], layer["config"]
            if kind == "InputLayer" and options.get("dtype") == "uint8":
                yield 1 / 255, 0.0
                return
            if kind == "Rescaling":
                yield _values(options["scale"]), _values(options["offset"])
            elif kind == "Normalization":
                given = options["mean"] is not None
                mean, variance = (_values(options[key]) for key in ("mean", "variance")) if given else _adapted(path)
                yield 1 / np.sqrt(variance), -mean / np.sqrt(variance)
            elif kind in _KERAS_STEPS:
                yield _STEPS[_KERAS_STEPS[kind]](_values(layer["inbound_nodes"][0]["args"][1]))
            elif kind not in _KERAS_SAME_VALUES and not kind.startswith("Rand"):
                return
    except (AttributeError, LookupError, TypeError, ValueError):  # not with a constant, or not as Keras writes it
        return


def _values(constant):
    """A constant as Keras saves it: a number, a list, or one of these in an envelope."""
    import numpy as np

    return np.asarray(constant["config"]["value"] if isinstance(constant, dict) else constant, float)


def _adapted(path):
    """(mean, variance) of the pictures that a Normalization layer was adapted to."""
    import h5py

    found = []

    def visit(name, item):
        if re.search(r"(^|/)normalization/vars/[01]$|/(mean|variance)(:0)?$", name):
            found.append(item[()].astype(float))

    with contextlib.ExitStack() as files:
        archive = files.enter_context(zipfile.ZipFile(path)) if path.suffix == ".keras" else None
        weights = files.enter_context(archive.open("model.weights.h5")) if archive else path
        files.enter_context(h5py.File(weights)).visititems(visit)
    return found[0], found[1]


def _graph_steps(path):
    from edgecls.graph import read

    try:
        graph = read(path, size=PREPROCESS["none"].crop)  # any, where it is open
        (tensor,) = graph.inputs
        while len(readers := [op for op in graph.ops if tensor in op.inputs]) == 1:
            (op,) = readers
            kind, (tensor,) = op.kind.upper(), op.outputs
            if kind in _STEPS:
                (constant,) = (one for one in op.inputs if one.constant)
                if constant.elements > 3 or (kind in ("SUB", "DIV") and constant is not op.inputs[1]):
                    return
                yield _STEPS[kind](graph.values(constant).astype(float))
            elif kind not in _SAME_VALUES:
                return
    except (EdgeclsError, ValueError):  # damaged, or of two inputs: said when it is taken
        return


_STEPS = {
    "MUL": lambda value: (value, 0.0),
    "DIV": lambda value: (1 / value, 0.0),
    "ADD": lambda value: (1.0, value),
    "SUB": lambda value: (1.0, -value),
}
_KERAS_STEPS = {"Add": "ADD", "Divide": "DIV", "Multiply": "MUL", "Subtract": "SUB", "TrueDivide": "DIV"}
_SAME_VALUES = {"CAST", "DROPOUT", "IDENTITY", "RESHAPE", "TRANSPOSE"}
_KERAS_SAME_VALUES = {
    *("InputLayer", "GetItem", "Stack", "Resizing", "CenterCrop", "ZeroPadding2D"),
    *("AugMix", "CutMix", "Dropout", "GaussianNoise", "MixUp", "SpatialDropout2D"),  # in training alone
}
