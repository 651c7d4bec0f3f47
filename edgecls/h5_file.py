"""Keras's weights, read without Keras and without building the model that is in the file.

Keras 3 lays variables out as `layers/<class>_<n>/vars/<i>`, in `.weights.h5` and in a member of that
kind of `.keras`; the attribute `name` of `vars` is the layer's. Keras 2's `.h5`, which Keras 3 still
writes of whole models, has the attribute `layer_names`, and for each of these `weight_names`.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from edgecls import mapped
from edgecls.errors import BadFile
from edgecls.text import printable

#: Variables of a class of layers, by the class as Keras 3 writes it, in the order of their numbers.
_VARIABLES = {
    **dict.fromkeys(("conv2d", "depthwise_conv2d", "dense"), ("kernel", "bias")),
    "separable_conv2d": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "normalization": ("mean", "variance", "count"),
    **dict.fromkeys(("layer_normalization", "layer_norm"), ("gamma", "beta")),
    "class_token": ("token",),
    **dict.fromkeys(("position_embedding", "relative_position_bias"), ("table",)),
}
#: What h5py, zipfile and json raise of files that are not as they should be.
_DAMAGED = (LookupError, ValueError, TypeError, AttributeError, OSError, RuntimeError, zipfile.BadZipFile)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Every variable in a `.keras`, `.weights.h5` or `.h5` file by `layer/variable`.

    A layer inside another goes by its own name alone. The order is the model's where Keras 2's layout
    keeps it. Arrays are views of the file, not to be written to, but compressed ones.
    Raises BadFile where it is no such file, or claims more than it has.
    """
    import h5py

    path = Path(path)
    try:
        data, layer_names = mapped.open_file(path), {}
        if path.suffix.lower() == ".keras":
            with zipfile.ZipFile(path) as archive:
                config = json.loads(mapped.member(data, archive.getinfo("config.json")).tobytes())
                data = mapped.member(data, archive.getinfo("model.weights.h5"))
            layer_names = dict(_layer_names(config["config"], "layers/"))
        with h5py.File(io.BytesIO(data) if layer_names else path, "r") as file:
            items = _items(file)
            root = "model_weights/" if "model_weights" in items else ""
            if "layers" in items and not root:
                return _keras3(items, data, layer_names)
            return _keras2(items, data, root)
    except _DAMAGED as error:
        reason = str(error.args[0] if isinstance(error, KeyError) else error)
        raise BadFile(f"{path.name} cannot be read as weights of Keras: {printable(reason)}") from error


def _items(file) -> dict:
    """Groups and datasets by their paths. Links are not followed, as they can lead to other files."""
    items = {"": file}
    file.visititems(items.__setitem__)
    return items


def _keras3(items, data, layer_names: Mapping[str, str]) -> dict[str, np.ndarray]:
    tensors = {}
    for place, item in items.items():
        layer, is_variable, number = place.rpartition("/vars/")
        if not is_variable or not layer.startswith("layers/"):
            continue
        group = items[f"{layer}/vars"]
        name = _attribute(group, "name", data) or layer_names.get(layer)
        if name is None:
            raise ValueError("an older Keras has saved it, without names of layers; save it there as .keras")
        variables = _variables(re.sub(r"_\d+$", "", layer.rpartition("/")[2]), len(group))
        variable = dict(enumerate(variables)).get(int(number), number)
        _add(tensors, f"{name}/{variable}", _array(item, data))
    return tensors


def _variables(kind: str, count: int) -> tuple[str, ...]:
    if kind == "batch_normalization" and count < 4:  # without scale, as keras.applications' Inception
        return _VARIABLES[kind][-count:]
    return _VARIABLES.get(kind, ())


def _layer_names(config: Mapping, place: str) -> Iterator[tuple[str, str]]:
    """(place, name) of a model's layers, from its configuration: Keras numbers the layers of a class."""
    numbers: Counter[str] = Counter()
    for layer in config["layers"]:
        kind = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", layer["class_name"])
        kind = re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()
        own = f"{place}{kind}_{numbers[kind]}".removesuffix("_0")
        numbers[kind] += 1
        yield own, layer["config"].get("name")
        if "layers" in layer["config"]:
            yield from _layer_names(layer["config"], f"{own}/layers/")


def _keras2(items, data, root) -> dict[str, np.ndarray]:
    tensors = {}
    layers = _texts(items[root.rstrip("/")], "layer_names", data)
    slashes = any("/" in layer for layer in layers)
    for layer in layers:
        names = _texts(items[root + layer], "weight_names", data)
        parts = [name.removesuffix(":0").rpartition("/") for name in names]
        is_model = len({scope for scope, _, _ in parts}) > 1
        for name, (scope, slash, variable) in zip(names, parts, strict=True):
            # Keras 3 says `kernel` where Keras 2 said this, but for separable convolutions.
            if variable == "depthwise_kernel" and (scope, slash, "pointwise_kernel") not in parts:
                variable = "kernel"
            owner = scope.rpartition("/")[2] if is_model else layer
            array = _array(items[f"{root}{layer}/{name}"], data)
            _add(tensors, f"{_without_slashes(owner) if slashes else owner}/{variable}", array)
    return tensors


def _without_slashes(layer):
    """Keras 3's name of a layer of MobileNet v3, whose names had slashes until Keras 3 forbade them."""
    return layer.replace("/BatchNorm", "_bn").replace("/", "_").lower()


def _texts(group, attribute, data) -> list[str]:
    """A list of names, which Keras cuts in numbered parts where it is longer than HDF5 allows."""
    parts = [name for name in group.attrs if re.fullmatch(rf"{attribute}\d*", name)]
    if not parts:
        raise ValueError(f"it has neither layers nor {attribute}")
    parts.sort(key=lambda name: int(name.removeprefix(attribute) or 0))
    names = [name for part in parts for name in _attribute(group, part, data)]
    return [name.decode() if isinstance(name, bytes) else name for name in names]


def _attribute(item, name, data):
    """The value of an attribute, None where there is none."""
    if name not in item.attrs:
        return None
    attribute = item.attrs.get_id(name)
    size = math.prod(attribute.shape) * attribute.dtype.itemsize
    if size > memoryview(data).nbytes:
        raise ValueError(f"the attribute {name} claims {size:,} bytes")
    return item.attrs[name]


def _add(tensors, name, array):
    if name in tensors:
        raise ValueError(f"it has {name} twice; give the weights of the classifier alone")
    tensors[name] = array


def _array(dataset, data) -> np.ndarray:
    name = dataset.name.strip("/")
    is_bfloat16 = _attribute(dataset, "dtype", data) == "bfloat16" and dataset.dtype.itemsize == 2
    dtype = "bfloat16" if is_bfloat16 else dataset.dtype.name
    if dtype not in mapped.DTYPES:
        raise ValueError(f"{name} is of type {dtype}")
    start = dataset.id.get_offset()
    if start is not None:
        order = ">" if dataset.dtype.byteorder == ">" else "<"
        return mapped.array(data, start, dataset.shape, dtype, order=order)
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > mapped.EXPANSION * stored or dataset.is_virtual or dataset.external:
        raise ValueError(f"{name} claims {dataset.nbytes:,} bytes and has {stored:,}")
    return dataset[()]
