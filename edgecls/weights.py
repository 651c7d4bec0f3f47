"""Reading weights files without running anything in them, and loading them strictly.

A weights file becomes a dictionary of the source's own tensor names. `load` hands every tensor to
the layer it belongs to, by the row's `source_name`, and refuses a dictionary with a tensor too
many, too few or of another shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from edgecls.errors import BadFile, UsageError, WeightsMismatch
from edgecls.spec import ModelSpec

Tensors = Mapping[str, np.ndarray]


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
    "torch": (r".*\.num_batches_tracked",),
    "keras": (r"seed_generator(_\d+)?/.*",),  # of dropout
}


def load(model, tensors: Tensors, spec: ModelSpec) -> None:
    """Set every variable of `model` from `tensors`, the source's own names and layout.

    Raises WeightsMismatch naming tensors that are missing, not used, or of the wrong shape; the
    model is untouched then.
    """
    if spec.layout == "keras":
        tensors = _keras_tensors(tensors)
    unused = spec.unused_tensors + _UNUSED[spec.layout]
    left = {name for name in tensors if not any(re.fullmatch(p, name) for p in unused)}
    values, problems = [], []
    for layer in model.layers:
        for variable in layer.variables:
            name, convert = _source_tensor(layer, variable.name, spec)
            if name not in tensors:
                problems.append(f"{name} is missing")
                continue
            left.discard(name)
            value = _converted(convert, tensors[name])
            if value is None or tuple(value.shape) != tuple(variable.shape):
                wanted = _source_shape(layer, variable, spec)
                problems.append(f"{name} has shape {tuple(tensors[name].shape)}, expected {wanted}")
                continue
            values.append((variable, value))
    problems += [f"{name} is not part of {spec.key}" for name in sorted(left)]
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise WeightsMismatch(f"weights do not fit {spec.key}: {shown}")
    for variable, value in values:
        variable.assign(value)


def _keras_tensors(tensors: Tensors) -> Tensors:
    """`tensors` by `layer/variable`, without name scopes, the layers that Keras named numbered from 1.

    Keras calls a layer without a name `conv2d`, `conv2d_1`, ... in order of creation, and counts
    on through a process: the same model saved twice has other numbers in the same order.
    """
    by_layer = {"/".join(name.split("/")[-2:]): value for name, value in tensors.items()}
    if len(by_layer) < len(tensors):
        raise WeightsMismatch("the weights hold two layers of one name; give those of the classifier alone")
    numbered = {}
    for kind in ("conv2d", "batch_normalization"):
        layers = {name.split("/")[0] for name in by_layer if re.fullmatch(rf"{kind}(_\d+)?/\w+", name)}
        in_order = sorted(layers, key=lambda layer: int(layer.removeprefix(kind)[1:] or 0))
        numbered |= {layer: f"{kind}_{number}" for number, layer in enumerate(in_order, start=1)}
    renamed = {}
    for name, value in by_layer.items():
        layer, slash, variable = name.partition("/")
        renamed[numbered.get(layer, layer) + slash + variable] = value
    return renamed


def _source_tensor(layer, variable: str, spec: ModelSpec) -> tuple[str, Callable]:
    """The source's name of a layer's variable, and the function to our layout."""
    module = spec.source_name(layer.name)
    if spec.layout == "keras":
        name = module if "/" in module else f"{module}/{variable}"
        return name, _KERAS.get(type(layer).__name__, {}).get(variable, np.asarray)
    suffix, convert = _TORCH[type(layer).__name__][variable]
    name = f"{module}.{suffix}" if suffix else module
    if type(layer).__name__ == "Dense" and variable == "kernel":
        flattened = _flattened_shape(layer)
        if flattened:
            return name, lambda w: _chw_rows_to_hwc(w, flattened)
    return name, convert


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


def _source_shape(layer, variable, spec) -> tuple[int, ...]:
    shape = tuple(variable.shape)
    if spec.layout == "torch" and len(shape) == 2:
        return shape[::-1]
    if spec.layout == "torch" and len(shape) == 4:
        height, width, into, out = shape
        return (into, out, height, width) if type(layer).__name__ == "DepthwiseConv2D" else (out, into, height, width)
    return shape


def check_file(path: str | Path) -> None:
    """Raise BadFile where there is no file `path`, UsageError where it is of a kind that `read` does not know."""
    path = Path(path)
    if not path.is_file():
        others = "auto, imagenet, imagenet:TAG or random"
        raise BadFile(f"no weights file {str(path)!r}; give one of {', '.join(_READERS)}, or {others}")
    if path.suffix.lower() not in _READERS:
        raise UsageError(f"cannot read weights from {path.name!r}; known are {', '.join(_READERS)}")


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Every tensor of a weights file by the name it has there.

    `.safetensors`: a state dict. `.keras`: a saved model, loaded in Keras's safe mode. `.h5`: a
    weights file of keras.applications or a whole saved model. Names in Keras files are
    `layer/variable`. Raises BadFile, UsageError.
    """
    path = Path(path)
    check_file(path)
    try:
        return _READERS[path.suffix.lower()](path)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise BadFile(f"{path.name} cannot be read as {path.suffix[1:]} weights: {reason}") from error


def _read_safetensors(path):
    from safetensors.numpy import load_file

    return load_file(path)


def _read_keras(path):
    import keras

    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    return {variable.path: variable.numpy() for variable in model.variables}


def _read_h5(path):
    import h5py

    with h5py.File(path, "r") as file:
        root = file["model_weights"] if "model_weights" in file else file
        if "layer_names" not in root.attrs:
            raise ValueError("no layer names in it: not a keras.applications file")
        tensors = {}
        layers = _texts(root.attrs["layer_names"])
        slashes = any("/" in layer for layer in layers)
        for layer in layers:
            names = _texts(root[layer].attrs["weight_names"])
            variables = [name.removesuffix(":0").rsplit("/", 1)[-1] for name in names]
            for name, variable in zip(names, variables, strict=True):
                # Keras 3 says `kernel` where Keras 2 said this, but for separable convolutions.
                if variable == "depthwise_kernel" and "pointwise_kernel" not in variables:
                    variable = "kernel"
                tensors[f"{_without_slashes(layer) if slashes else layer}/{variable}"] = root[layer][name][()]
        return tensors


_READERS = {".safetensors": _read_safetensors, ".keras": _read_keras, ".h5": _read_h5}


def _texts(names):
    return [name.decode() if isinstance(name, bytes) else name for name in names]


def _without_slashes(layer):
    """Keras 3's name of a layer of MobileNet v3, whose names had slashes until Keras 3 forbade them."""
    return layer.replace("/BatchNorm", "_bn").replace("/", "_").lower()
