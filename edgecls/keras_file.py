"""A Keras model of the user's, loaded without running code that is in the file."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgecls.errors import BadFile, UsageError

if TYPE_CHECKING:
    import keras


def load(path: Path) -> keras.Model:
    """The classifier in a .keras or .h5 file or a SavedModel folder: (batch, height, width,
    channels) float32 to (batch, classes).

    Raises BadFile for a file that Keras cannot read safely, UsageError for a model of another shape.
    """
    import keras

    try:
        if path.is_dir():
            model = _saved_model(path)
        else:
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except UsageError:
        raise
    except Exception as error:  # whatever a damaged or hostile file makes Keras raise
        reason = str(error).strip().split("\n")[0]
        if "safe_mode=False" in reason:  # which Keras advises
            reason = "code in it would be run, such as a Lambda layer's; replace that by a layer of Keras"
        raise BadFile(f"{path.name} cannot be loaded as a Keras model: {reason}") from error
    _check(model, path.name)
    return model


def _saved_model(path):
    import keras
    import tensorflow as tf

    signatures = tf.saved_model.load(str(path)).signatures
    if "serving_default" not in signatures:
        raise UsageError(f"{path.name} has no signature serving_default; export it with model.export()")
    inputs = signatures["serving_default"].structured_input_signature[1]
    if len(inputs) != 1:
        raise UsageError(f"{path.name} has {len(inputs)} inputs; a classifier has one")
    (spec,) = inputs.values()
    layer = keras.layers.TFSMLayer(str(path), call_endpoint="serving_default")
    image = keras.Input(batch_shape=spec.shape, name="image")
    outputs = layer(image)
    if len(outputs) != 1:
        raise UsageError(f"{path.name} has {len(outputs)} outputs; a classifier has one")
    return keras.Model(image, *outputs.values())


def _check(model, name):
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        ends = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise UsageError(f"{name} has {ends}; a classifier has one of each")
    if model.inputs[0].dtype != "float32":
        raise UsageError(f"{name} takes {model.inputs[0].dtype} pictures, expected float32")
    for layer in model.layers:
        if layer.compute_dtype.endswith("float16"):
            raise UsageError(f"{name} computes in {layer.compute_dtype}; build it with the dtype policy float32")
    shape, out = model.inputs[0].shape, model.outputs[0].shape
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise UsageError(f"{name} takes input of shape {shape}, expected (batch, height, width, 1 or 3)")
    if shape[1] is None or shape[1] != shape[2]:
        raise UsageError(f"{name} takes pictures of {shape[1]}x{shape[2]}, expected a fixed square")
    if len(out) != 2 or out[1] is None:
        raise UsageError(f"{name} gives output of shape {out}, expected (batch, classes)")


def scales_pixels(path: Path) -> bool:
    """Whether a .keras or .h5 model has a Rescaling or Normalization layer: then it takes 0..255."""
    if path.is_dir():
        return False
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
        else:
            import h5py

            with h5py.File(path) as file:
                config = json.loads(file.attrs["model_config"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise BadFile(f"{path.name} is not a Keras model: {error}") from error
    return any(kind in ("Rescaling", "Normalization") for kind in _class_names(config))


def _class_names(config):
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            yield config["class_name"]
        for value in config.values():
            yield from _class_names(value)
    elif isinstance(config, list):
        for value in config:
            yield from _class_names(value)
