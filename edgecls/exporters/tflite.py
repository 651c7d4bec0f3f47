"""To TFLite: one conversion in float, every other precision from that file."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from edgecls.errors import WorkFailed
from edgecls.exporters import bias_correction, equalisation, flatbuffer, ranges
from edgecls.exporters.calibration import METHOD
from edgecls.exporters.frozen import INPUT, OUTPUT, Frozen, with_constants
from edgecls.exporters.lowerings import INNER, LOWERINGS, groups, hard_swish, pools, scales
from edgecls.graph import read


def convert(frozen: Frozen, path: Path) -> None:
    """Write the float model. TFLite builtins only."""
    import tensorflow as tf
    from tensorflow.lite.python.convert import convert_graphdef
    from tensorflow.lite.python.convert_phase import ConverterError

    # The step inside of TFLiteConverter that converts; what that does around it, freezing and
    # folding once more, takes ten times as long and twice the memory.
    try:
        data = convert_graphdef(
            with_constants(frozen),
            input_tensors=[_End(INPUT, tf.TensorShape(frozen.input_shape), tf.float32)],
            output_tensors=[_End(OUTPUT, tf.TensorShape(frozen.output_shape), tf.float32)],
            enable_mlir_converter=True,
        )
    except ConverterError as error:
        unknown = dict.fromkeys(re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", str(error)))
        if not unknown:
            raise
        raise WorkFailed(f"TFLite has no op for TensorFlow's {', '.join(unknown)}; replace it in the model") from error
    model = flatbuffer.unpack(data)
    flatbuffer.sign(model)
    flatbuffer.write(model, path)


class _End:
    """What convert_graphdef wants to know of a tensor."""

    def __init__(self, name, shape, dtype):
        self.name, self.shape, self.dtype = name, shape, dtype


#: What is made on the float file.
_LOWERINGS = {"groups": groups.tflite, "hard-swish": hard_swish.tflite, "pools": pools.tflite}


def lower(source: str, target: str, names: Collection[str]) -> list[str]:
    """Write the float file `source` to `target`, lowered by those of `names` that it returns; if any."""
    model = flatbuffer.unpack(Path(source).read_bytes())
    applied = [name for name, rewrite in _LOWERINGS.items() if name in names and rewrite(model)]
    if applied:
        flatbuffer.drop_unread(model)
        flatbuffer.write(model, Path(target))
    return applied


def quantize(
    source: str,
    target: str,
    precision: str,
    calibration: str,
    input_range: tuple[float, float] | None,
    io: str,
    emit,
    method: str = METHOD,
    per_tensor: bool = False,
    layers: Mapping[str, str] | None = None,
    lowered_by: Collection[str] = tuple(LOWERINGS),
) -> dict:
    """Child process: write `target` from the float file `source`.

    calibration: a .npy of inputs (count, 1, height, width, channels), for int8 and int16x8.
    input_range: what the input can be, where known; calibration pictures may not reach its ends.
    method: see `ranges`; per_tensor: one scale for each tensor of weights, equalised before.
    layers: of int8, what is kept in "float" or "int16", by the tensor that it computes in `source`.
    lowered_by: lowerings that may be applied to int8.
    Returns "ends", how the ends are quantized where the file cannot say it, as TensorInfo by name,
    "lowerings", those that had something to do, and "notes", what a user must be told.
    """
    from litert_quantizer import quantizer, recipe

    notes, applied = [], []
    if precision in _STATIC:
        pictures = np.load(calibration, mmap_mode="r")
        if precision == "int8":
            lowered = str(Path(target).with_suffix(".lowered.tflite"))
            if applied := lower(source, lowered, lowered_by):
                source = lowered
            if "scales" in lowered_by and scales.joins(read(source)):
                applied.append("scales")
        if per_tensor:
            equal = str(Path(target).with_suffix(".equalised.tflite"))
            notes.append(equalise(source, equal, pictures))
            source = equal
        model = _static(
            source,
            precision,
            pictures,
            input_range,
            emit,
            method=method,
            per_tensor=per_tensor,
            layers=layers or {},
            joined="scales" in applied,
        )
        flatbuffer.limit_integers(model)
        flatbuffer.set_io(model, io)
    else:
        plan = {"fp16": _FLOAT16, "int8-weights": recipe.weight_only_wi8_afp32(), "dynamic": _dynamic()}[precision]
        model = flatbuffer.unpack(quantizer.Quantizer(source, plan).quantize().quantized_model)
    flatbuffer.sign(model)
    flatbuffer.write(model, Path(target))
    return {"ends": {}, "lowerings": applied, "notes": notes}


#: Integers that activations can be.
_STATIC = {"int8": 2**8, "int16x8": 2**16}

#: The narrowest range: with finer steps the 6 of ReLU6 is beyond 32 bits, and kernels refuse the file.
_NARROWEST = 255 * 6 / 2**30

#: Weights rounded to float16, computed in float32.
_FLOAT16 = [
    {
        "regex": ".*",
        "operation": "*",
        "algorithm_key": "float_casting",
        "op_config": {
            "weight_tensor_config": {"num_bits": 16, "dtype": "FLOAT"},
            "compute_precision": "FLOAT",
            "explicit_dequantize": True,
        },
    }
]


def _dynamic():
    from litert_quantizer import recipe

    # XNNPACK cannot run a depthwise convolution of float pictures with int8 weights.
    in_float = [{**rule, "operation": "DEPTHWISE_CONV_2D"} for rule in recipe.weight_only_wi8_afp32()]
    return recipe.dynamic_wi8_afp32() + in_float


def equalise(source: str, target: str, pictures: np.ndarray) -> str:
    """Write the float file `source` to `target` with its layers equalised; what was done in words."""
    layers, pairs, words = equalisation.equalise(source, pictures)
    model = flatbuffer.unpack(Path(source).read_bytes())
    for layer in layers:
        for position, value in ((1, layer.kernel), (2, layer.bias)):
            if value is not None:
                flatbuffer.set_weights(model, layer.op.index, position, value.astype(np.float32))
    flatbuffer.drop_unread(model)
    limits = {pair.limited.index: equalisation.SIX / pair.factors for pair in pairs if pair.limited}
    flatbuffer.limit_channels(model, limits)
    flatbuffer.write(model, Path(target))
    return words


def _static(source, precision, pictures, input_range, emit, *, method, per_tensor, layers, joined):
    """The quantized model as an object, see `flatbuffer.unpack`."""
    from litert_quantizer import quantizer, recipe

    data, graph, levels = Path(source).read_bytes(), read(source), _STATIC[precision]
    corrected = bias_correction.layers(graph)
    plan = recipe.static_wi8_ai16() if precision == "int16x8" else recipe.static_wi8_ai8()
    if per_tensor:
        for rule in plan:
            rule["op_config"]["weight_tensor_config"]["granularity"] = "TENSORWISE"
    in_float = [*flatbuffer.fragile(data), *(name for name, kind in layers.items() if kind == "float")]
    plan += [{"regex": _of(name), "operation": "*", "algorithm_key": "no_quantize"} for name in in_float]
    in_int16 = [name for name, kind in layers.items() if kind == "int16"]
    plan += [{**rule, "regex": _of(name)} for name in in_int16 for rule in recipe.static_wi8_ai16()]
    averaged = {layer.reached_by: layer.channels for layer in corrected.values()}
    found, means = ranges.find(source, pictures, method, levels, emit, averaged)
    found = {name: (low, max(high, low + _NARROWEST)) for name, (low, high) in found.items()}
    if input_range is not None:
        found[flatbuffer.INPUT] = input_range
    if joined:
        found = scales.join(graph, found)
    for name in found:  # what has a limit for each channel: one scale before and behind it
        limited = f"{name}{flatbuffer.RELU.decode()}"
        if limited in found:
            found[limited] = found[name]
    shapes = flatbuffer.shapes(data)
    # As many axes as the tensor: a concatenation with a constant fails without.
    statistics = {
        name: {"min": np.full((1,) * len(shapes[name]), low), "max": np.full((1,) * len(shapes[name]), high)}
        for name, (low, high) in found.items()
    }
    for name, end in pools.exact_ends(graph, levels // 2 - 1).items():
        statistics[name] = {"min": np.full((1,) * 4, -end), "max": np.full((1,) * 4, end)}
    if not per_tensor:
        levels_of = dict.fromkeys(in_int16, _STATIC["int16x8"])
        statistics |= _weights_of_biased_channels(graph, found, lambda name: levels_of.get(name, levels))
    model = flatbuffer.unpack(quantizer.Quantizer(source, plan).quantize(statistics).quantized_model)
    bias_correction.tflite(model, corrected, means)
    return model


def _of(tensor):
    """Matches the op that computes `tensor`, and those that a lowering made of it."""
    return f"^{re.escape(tensor)}({INNER}.*)?;?$"


def _weights_of_biased_channels(graph, activations, levels_of):
    """Ranges of weights, wide enough that the biases beside them fit in 32 bits.

    A bias has the scale of its input times that of its channel's weights. Trained networks have
    channels whose weights are all but zero; beside them a bias is clipped to nothing. Of a trained
    MobileNetV2 that takes 1.3 dB with int8, 29 dB with int16x8.
    """
    wide = {}
    for op in graph.ops:
        picture, kernel, bias = (*op.inputs, None, None)[:3]
        if op.kind not in _BIASED or bias is None or picture.name not in activations or not kernel.constant:
            continue
        low, high = activations[picture.name]
        low, high, levels = min(low, 0), max(high, 0), levels_of(op.outputs[0].name)
        step = (high - low) / (levels - 1) if levels == 2**8 else max(high, -low) / (levels // 2 - 1)
        values = np.abs(np.moveaxis(graph.values(kernel), _BIASED[op.kind], 0))
        largest = values.reshape(len(values), -1).max(axis=1)
        least = np.abs(graph.values(bias)) * 127 / max(step, 1e-30) / 2**30
        if (least > largest).any():
            shape = np.ones(len(kernel.shape), int)
            shape[_BIASED[op.kind]] = -1
            ends = np.maximum(largest, least).astype(np.float32).reshape(shape)
            wide[kernel.name] = {"min": -ends, "max": ends}
    return wide


#: Ops with a bias, and the axis of their kernel along which channels lie.
_BIASED = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
