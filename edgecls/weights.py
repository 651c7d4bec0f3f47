"""Reading weights files without running anything in them, and loading them strictly.

A weights file becomes a dictionary of the source's own tensor names. `load` hands every tensor to
the layer it belongs to, by the row's `source_name`, and refuses a dictionary with a tensor too
many, too few or of another shape. What was saved from one of our models has our names instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgecls import h5_file, keras_names, safetensors_file, torch_file
from edgecls.errors import BadFile, UsageError, WeightsMismatch
from edgecls.spec import ModelSpec
from edgecls.text import printable

Tensors = Mapping[str, np.ndarray]

#: What DistributedDataParallel and torch.compile put before every name.
_WRAPPERS = ("module.", "_orig_mod.")

#: Our names of the layer that gives the logits: dense, or a convolution.
_CLASSIFIERS = ("classifier", "classifier_conv")


# Torch's axis order to Keras's, by Keras layer class: variable name -> (suffix, transform).
# A convolution may stand for a dense layer and the other way round (1x1 on one pixel).
def _conv_kernel(w):
    w = w.reshape(*w.shape, 1, 1) if w.ndim == 2 else w
    return w.transpose(2, 3, 1, 0)


def _dense_kernel(w):
    return w.reshape(w.shape[0], -1).T


_TORCH: dict[str, dict[str, tuple[str, Callable]]] = {
    "Conv2D": {"kernel": ("weight", _conv_kernel), "bias": ("bias", np.asarray)},
    "DepthwiseConv2D": {
        "kernel": ("weight", lambda w: w.transpose(2, 3, 0, 1)),
        "bias": ("bias", np.asarray),
    },
    "Dense": {"kernel": ("weight", _dense_kernel), "bias": ("bias", np.asarray)},
    "BatchNormalization": {
        "gamma": ("weight", np.asarray),
        "beta": ("bias", np.asarray),
        "moving_mean": ("running_mean", np.asarray),
        "moving_variance": ("running_var", np.asarray),
    },
    "LayerNorm": {"gamma": ("weight", np.asarray), "beta": ("bias", np.asarray)},
    # Parameters of no module of their own: the source's name is the tensor's.
    "ClassToken": {"token": ("", np.asarray)},
    "PositionEmbedding": {"table": ("", np.asarray)},
    "RelativePositionBias": {"table": ("", np.asarray)},
}

#: Keras's own layout needs no transform but where its classifier is a 1x1 convolution.
_KERAS = {"Dense": {"kernel": lambda w: w.reshape(w.shape[-2:])}}

#: In a source's dictionaries, but no part of the function computed.
_UNUSED = {
    "torch": (r".*\.num_batches_tracked", "n_averaged"),
    "keras": (r"seed_generator(_\d+)?/.*",),  # of dropout
}


@dataclass(frozen=True)
class _Naming:
    """How a file names our layers, and orders the axes of their tensors."""

    layout: Literal["keras", "torch"]
    source_name: Callable[[str], str]

    def tensors(self, model) -> Iterator[tuple]:
        """(variable, its tensor's name, the function to our axes, the shape it has there)."""
        for layer in model.layers:
            for variable in layer.variables:
                yield variable, *self._tensor(layer, variable.name), self._shape(layer, variable)

    def _tensor(self, layer, variable):
        module = self.source_name(layer.name)
        if self.layout == "keras":
            name = module if "/" in module else f"{module}/{variable}"
            return name, _KERAS.get(type(layer).__name__, {}).get(variable, np.asarray)
        suffix, convert = _TORCH[type(layer).__name__][variable]
        name = f"{module}.{suffix}" if suffix else module
        if type(layer).__name__ == "Dense" and variable == "kernel":
            flattened = _flattened_shape(layer)
            if flattened:
                return name, lambda w: _chw_rows_to_hwc(w, flattened)
        return name, convert

    def _shape(self, layer, variable) -> tuple[int, ...]:
        shape = tuple(variable.shape)
        if self.layout == "torch" and len(shape) == 2:
            return shape[::-1]
        if self.layout == "torch" and len(shape) == 4:
            height, width, into, out = shape
            depthwise = type(layer).__name__ == "DepthwiseConv2D"
            return (into, out, height, width) if depthwise else (out, into, height, width)
        return shape


#: Of a file that was saved from a model of ours.
_OURS = _Naming("keras", str)


def load(model, tensors: Tensors, spec: ModelSpec) -> None:
    """Set every variable of `model` from `tensors`, in the source's names and axes or in ours and Keras's.

    Raises WeightsMismatch naming tensors that are missing, not used, or of the wrong shape; the
    model is untouched then.
    """
    naming, tensors = _understood(model, _renamed(tensors, spec.older_names), spec)
    unused = spec.unused_tensors + _UNUSED[naming.layout]
    left = {name for name in tensors if not any(re.fullmatch(p, name) for p in unused)}
    values, problems = [], []
    for variable, name, convert, shape in naming.tensors(model):
        if name not in tensors:
            problems.append(f"{name} is missing")
            continue
        left.discard(name)
        value = _converted(convert, tensors[name])
        if value is None or tuple(value.shape) != tuple(variable.shape):
            problems.append(f"{name} has shape {tuple(tensors[name].shape)}, expected {shape}")
            continue
        values.append((variable, value))
    problems += [f"{name} is not part of {spec.key}" for name in sorted(left)]
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise WeightsMismatch(f"weights do not fit {spec.key}: {printable(shown)}")
    for variable, value in values:
        variable.assign(value)


def _renamed(tensors: Tensors, names: Mapping[str, str]) -> Tensors:
    """With the names of today where those of a file are older, see `ModelSpec.older_names`."""
    for older, today in names.items():
        tensors = {re.sub(older, today, name): value for name, value in tensors.items()}
    return tensors


def _understood(model, tensors, spec) -> tuple[_Naming, Tensors]:
    """The naming that more of `tensors` follow, and these as it has them."""

    def missing(naming, tensors):
        return sum(name not in tensors for _, name, *_ in naming.tensors(model))

    theirs = _Naming(spec.layout, spec.source_name)
    if all("/" not in name for name in tensors):
        return theirs, tensors
    tensors = keras_names.numbered(tensors)
    naming = min(theirs, _OURS, key=lambda one: missing(one, tensors))
    if naming is theirs and spec.source == "keras" and missing(theirs, tensors):
        ordered = keras_names.by_order(tensors, spec.reference, model.output_shape[-1])
        tensors = keras_names.numbered(ordered)
    return naming, tensors


def _flattened_shape(layer):
    """(height, width, channels) of what a Flatten right before `layer` flattens, or None."""
    before = layer.input._keras_history.operation
    if type(before).__name__ == "Flatten" and len(before.input.shape) == 4:
        return before.input.shape[1:]
    return None


def _chw_rows_to_hwc(w, shape):
    height, width, channels = shape
    w = w.reshape(w.shape[0], channels, height, width)
    return w.transpose(2, 3, 1, 0).reshape(-1, w.shape[0])


def _converted(convert, value):
    try:
        return convert(value)
    except ValueError:  # axes or sizes that the transform cannot apply to
        return None


def classes(tensors: Tensors, spec: ModelSpec, asked: int | None) -> int:
    """How many classes to build: as the classifier in `tensors`, else as asked for, else the row's.

    Raises UsageError where another number than the classifier's is asked for.
    """
    found = _classes(tensors, spec)
    if None not in (found, asked) and found != asked:
        advice = "leave --classes out, or train another head with `edgecls finetune`"
        raise UsageError(f"--classes is {asked}, but the weights are of {found} classes; {advice}")
    return found or (spec.classes if asked is None else asked)


def _classes(tensors, spec) -> int | None:
    for naming in (_Naming(spec.layout, spec.source_name), _OURS):
        for layer in _CLASSIFIERS:
            try:
                module = naming.source_name(layer)
            except KeyError:
                continue
            name, axis = (f"{module}.weight", 0) if naming.layout == "torch" else (f"{module}/kernel", -1)
            if name in tensors and tensors[name].ndim > 1:
                return tensors[name].shape[axis]
    return None


def check_file(path: str | Path) -> None:
    """Raise BadFile where there is no file `path`, UsageError for one of a kind that `read` does not know."""
    path = Path(path)
    known = ", ".join(_READERS)
    if not path.is_file():
        words = "auto, imagenet, imagenet:TAG or random"
        raise BadFile(f"no weights file {str(path)!r}; give one of {known}, or {words}")
    if not readable(path):
        raise UsageError(f"cannot read weights from {path.name!r}; known are {known}")


def readable(path: Path) -> bool:
    """Whether `read` knows files of that name."""
    return _reader(path) is not None


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Every tensor of a weights file by the name it has there; nothing that is in it is run.

    Of a checkpoint of PyTorch its state dict, see `torch_file.read`, without what wrappers of PyTorch
    put before every name; in Keras's files names are `layer/variable`. Arrays are views of the file
    where they can be, not to be written to. Raises BadFile, UsageError.
    """
    return open_file(path)[0]


def open_file(path: str | Path) -> tuple[dict[str, np.ndarray], str]:
    """What `read` returns, and the dictionary of a checkpoint that it is of, such as "model_ema"; else ""."""
    check_file(path)
    tensors, place = _reader(Path(path))(Path(path))
    unwrapped = {}
    for name, value in tensors.items():
        while name.startswith(_WRAPPERS):
            name = name.partition(".")[2]
        if name in unwrapped:
            raise BadFile(f"{Path(path).name} has {name} twice, with and without {' or '.join(_WRAPPERS)}")
        unwrapped[name] = value
    return unwrapped, place


def _alone(reader):
    """Of a file that is one dictionary."""
    return lambda path: (reader(path), "")


_READERS: dict[str, Callable[[Path], tuple[Tensors, str]]] = {
    ".safetensors": _alone(safetensors_file.read),
    ".keras": _alone(h5_file.read),
    **dict.fromkeys((".h5", ".hdf5"), _alone(h5_file.read)),
    **dict.fromkeys((".pth", ".pt", ".bin", ".pth.tar", ".pth.zip"), torch_file.read),
}


def _reader(path: Path):
    return next((read for ending, read in _READERS.items() if path.name.lower().endswith(ending)), None)
