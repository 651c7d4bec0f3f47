"""A Keras model of the user's, loaded without running code that is in the file."""

from __future__ import annotations

import importlib
import json
import math
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecls.errors import BadFile, UsageError

if TYPE_CHECKING:
    import keras


def load(
    path: str | Path, *, input_size: int | None = None, custom: Sequence[str] = (), unsafe: bool = False
) -> tuple[keras.Model, list[str]]:
    """The classifier in a .keras or .h5 file or a SavedModel folder: (batch, height, width,
    channels) float32 to (batch, classes); and what a user must be told of it.

    input_size: of a model that takes pictures of any size. custom: "module:Name" of each class or
    function of the user's own in the file; the modules are imported, from the current folder first.
    unsafe: code that is in the file, such as a Lambda layer's, may be run.
    Raises BadFile for a file that Keras cannot read safely, UsageError for a model of another shape
    and for `custom` that cannot be imported.
    """
    import keras

    from edgecls import keras_layers  # noqa: F401  registers the layers of our own architectures

    path = Path(path)
    objects = {entry.partition(":")[2]: _imported(entry) for entry in custom}
    notes: list[str] = []
    try:
        if path.is_dir():
            model = _saved_model(path, input_size, notes)
        else:
            model = keras.saving.load_model(path, custom_objects=objects, compile=False, safe_mode=not unsafe)
            model = _in_float32(model, path.name, objects, unsafe, notes)
    except UsageError:
        raise
    except Exception as error:  # whatever a damaged or hostile file makes Keras raise
        reason = _code(path) if "safe_mode=False" in str(error) else _reason(error)
        raise BadFile(f"{path.name} cannot be loaded as a Keras model: {reason}") from error
    return _classifier(model, path.name, input_size), notes


def _imported(entry):
    """What `custom` names by "module:Name"."""
    module, _, name = entry.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.import_module(module)
        return getattr(found, name)
    except AttributeError as error:
        if module not in sys.modules:
            raise UsageError(f"--custom {entry}: importing {module} failed: {error}") from error
        where = getattr(found, "__file__", module)
        raise UsageError(f"--custom {entry}: no {name} in {where}") from error
    except (Exception, SystemExit) as error:  # whatever the user's module does
        raise UsageError(f"--custom {entry}: importing {module} failed: {type(error).__name__}: {error}") from error
    finally:
        sys.path.append(sys.path.pop(0))  # what it imports later is found, and hides nothing of ours


def config(path: Path) -> dict[str, Any]:
    """How the model in a .keras or .h5 file is built, as Keras writes it. Raises BadFile."""
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo("config.json").file_size > _LONGEST_CONFIG:
                    raise ValueError("its config.json is too large")
                return json.loads(archive.read("config.json"))
        import h5py

        with h5py.File(path) as file:
            if "model_config" not in file.attrs:
                raise ValueError("it holds weights alone; save the whole with model.save(), or name it with --weights")
            return json.loads(file.attrs["model_config"])
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise BadFile(f"{path.name} is not a Keras model: {error}") from error


def layers(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every layer of a `config`, in order, those of nested models in the place of these."""
    inner = config["config"].get("layers") if isinstance(config.get("config"), dict) else None
    if inner is None:
        yield config
    else:
        for layer in inner:
            yield from layers(layer)


def _code(path) -> str:
    """Where the code is that Keras refuses to run."""
    found = [layer["config"].get("name") for layer in layers(config(path)) if layer["class_name"] == "Lambda"]
    where = f", that of the Lambda layer {' and '.join(map(repr, found))}" if found else ""
    return f"code in it would be run{where}; replace it, or trust the file with --unsafe"


def _reason(error) -> str:
    """Keras's own words, or ours where what it advises is not what to do here."""
    text = str(error)
    unknown = re.search(r"(?:Could not locate \w+|Unknown [\w ]+:|Could not interpret [\w ]+:) '?(?:\w+>)?(\w+)", text)
    if unknown:
        return f"{unknown[1]} is not Keras's own; say where it is with --custom MODULE:{unknown[1]}"
    return text.strip().split("\n")[0]


def _in_float32(model, name, objects, unsafe, notes):
    """The same model, computing in float32 where it was trained in mixed precision."""
    import keras

    policies = {layer.dtype_policy.name for layer in model._flatten_layers()}
    mixed = sorted(policy for policy in policies if policy.startswith("mixed_"))
    if mixed:
        config = json.dumps(keras.saving.serialize_keras_object(model))
        for narrow in (*mixed, *(policy.removeprefix("mixed_") for policy in mixed)):
            config = config.replace(f'"{narrow}"', '"float32"')
        weights = model.get_weights()
        config = json.loads(config)
        model = keras.saving.deserialize_keras_object(config, custom_objects=objects, safe_mode=not unsafe)
        model.set_weights(weights)
        notes.append(f"{name} was trained in {' and '.join(mixed)}; here it computes in float32")
    elif policies != {"float32"}:
        raise UsageError(f"{name} computes in {min(policies - {'float32'})}; build it with the dtype policy float32")
    return model


def _saved_model(path, input_size, notes):
    """A SavedModel's signature as a Keras model."""
    import keras
    import tensorflow as tf

    signatures = tf.saved_model.load(str(path)).signatures
    names = [name for name in signatures if name == "serving_default"] or list(signatures)
    if len(names) != 1:
        found = f"signatures {', '.join(names)} and not serving_default" if names else "no signature"
        raise UsageError(f"{path.name} has {found}; save it with one of that name, as model.export() does")
    signature = signatures[names[0]]
    inputs = signature.structured_input_signature[1]
    check_ends(path.name, sorted(inputs), sorted(signature.structured_outputs))
    (spec,) = inputs.values()
    if spec.shape.rank != 4 or not (spec.dtype.is_floating or spec.dtype.is_integer):
        raise UsageError(f"{path.name} takes {spec.dtype.name} {spec.shape}, {_EXPECTED}")
    batch, height, width, channels = spec.shape
    size = side(path.name, (height, width), input_size)
    if batch is None:
        notes.append(f"{path.name} takes any number of pictures at once; the files made of it take one")
    image = keras.Input((size, size, channels), batch, name="image")
    layer = keras.layers.TFSMLayer(str(path), call_endpoint=names[0])
    (logits,) = layer(keras.ops.cast(image, spec.dtype.name)).values()
    return keras.Model(image, logits)


#: Longest configuration that is read, bytes; those of the zoo take half a megabyte.
_LONGEST_CONFIG = 100_000_000
_EXPECTED = "expected (batch, height, width, 1 or 3)"


def check_ends(name: str, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Raise UsageError for a model that has not one input and one output; arguments are their names."""
    ends = [("input", list(inputs)), ("output", list(outputs))]
    found = " and ".join(f"{len(all)} {end}{'s' * (len(all) != 1)} ({', '.join(all)})" for end, all in ends)
    if any(len(all) != 1 for _, all in ends):
        raise UsageError(f"{name} has {found}; a classifier has one of each, the picture and the logits")


def side(name: str, size: Sequence[int | None], wanted: int | None) -> int:
    """Height and width of the pictures that a model takes; those `wanted` where they are open.

    Raises UsageError where they are open and none are wanted, closed and others are wanted, or not equal.
    """
    if None in size:
        if wanted is None:
            raise UsageError(f"{name} takes pictures of any size; say which with --input-size")
        return wanted
    shown = f"{size[0]}x{size[1]}"
    if wanted is not None and tuple(size) != (wanted, wanted):
        raise UsageError(f"--input-size {wanted} is not to be had: {name} takes pictures of {shown} alone")
    if size[0] != size[1]:
        raise UsageError(f"{name} takes pictures of {shown}, expected a square: pictures are cropped to one")
    return size[0]


def _classifier(model, name, input_size):
    """`model` from float32 pictures of one size to a row of classes. Raises UsageError."""
    import keras

    given = getattr(model, "inputs", None)
    if given:
        check_ends(name, *([tensor._keras_history.operation.name for tensor in ends] for ends in (given, model.outputs)))
        shape, dtype = given[0].shape, given[0].dtype
    else:  # a class of the user's own
        shape, dtype = model.get_build_config().get("input_shape"), "float32"
    if shape is None or len(shape) != 4 or shape[3] not in (1, 3):
        raise UsageError(f"{name} takes input of shape {shape}, {_EXPECTED}")
    if dtype not in ("float32", "uint8"):
        raise UsageError(f"{name} takes {dtype} pictures, expected float32")
    if shape[0] not in (None, 1):
        raise UsageError(f"{name} takes {shape[0]} pictures at once, expected 1 or any number")
    size = side(name, shape[1:3], input_size)
    image = keras.Input((size, size, shape[3]), name="image")
    whole = given and dtype == "float32" and None not in shape[1:3]
    logits = model.outputs[0] if whole else _called(model, image, name)
    out = logits.shape[1:]
    if None in out or not out or math.prod(out) != max(out):
        raise UsageError(f"{name} gives output of shape {logits.shape}, expected (batch, classes)")
    if len(out) > 1:
        logits, whole = keras.layers.Flatten()(_called(model, image, name)), False
    return model if whole else keras.Model(image, logits)


def _called(model, image, name):
    try:
        logits = model(image, training=False)
    except Exception as error:  # whatever its layers say of the size
        raise UsageError(f"{name} cannot take pictures of shape {image.shape[1:]}: {_reason(error)}") from error
    if not hasattr(logits, "shape"):
        raise UsageError(f"{name} gives a {type(logits).__name__}; a classifier gives one tensor, the logits")
    return logits
