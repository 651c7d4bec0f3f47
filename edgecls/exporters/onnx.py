"""To ONNX: one conversion in float, every other precision from that file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from edgecls.errors import WorkFailed
from edgecls.exporters import bias_correction, equalisation, ranges
from edgecls.exporters._onnx_graph import attribute, drop_unread_constants
from edgecls.exporters._onnx_names import rename
from edgecls.exporters._onnx_simplify import keep_zeros, simplify
from edgecls.exporters.calibration import METHOD
from edgecls.exporters.frozen import INPUT, OUTPUT, Frozen, with_constants
from edgecls.exporters.lowerings import INNER, LOWERINGS, align, factors, groups, pools, scales
from edgecls.graph import read
from edgecls.graph.rules import CLAMPS

#: tf2onnx writes GlobalAveragePool up to 17; from 18 on a ReduceMean that quantizes worse.
OPSET = 17


def convert(frozen: Frozen, skeleton: Path, kernels: Path) -> None:
    """Write the graph as ONNX with its kernels left out as inputs, and the kernels as .safetensors.

    Needs TensorFlow; `join` makes the float model of the two without.
    """
    import onnx
    import tf2onnx
    from safetensors.numpy import save_file

    from edgecls.exporters import _tf2onnx_repairs

    _tf2onnx_repairs.apply()
    values = {name: value for name, value in frozen.weights.items() if value.ndim > 1}
    proto, _ = tf2onnx.convert.from_graph_def(
        with_constants(frozen, lambda value: value.ndim <= 1),  # vectors go in, to be folded
        input_names=[f"{name}:0" for name in (INPUT, *values)],
        output_names=[f"{OUTPUT}:0"],
        opset=OPSET,
    )
    unknown = sorted({node.op_type for node in proto.graph.node if not onnx.defs.has(node.op_type, node.domain)})
    if unknown:
        raise WorkFailed(f"ONNX has no op for TensorFlow's {', '.join(unknown)}; replace it in the model")
    onnx.save(proto, skeleton)
    # Keras hands out arrays that may be views; the file format wants them contiguous.
    save_file({name: np.ascontiguousarray(value) for name, value in values.items()}, kernels)


def join(skeleton: Path, kernels: Path, target: Path) -> None:
    """Write the float model from what `convert` left."""
    import onnx
    from onnx import numpy_helper
    from safetensors.numpy import load_file

    proto, values = onnx.load(skeleton), load_file(kernels)
    inputs = [value for value in proto.graph.input if value.name.removesuffix(":0") not in values]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    for name, value in values.items():
        proto.graph.initializer.append(numpy_helper.from_array(value, f"{name}:0"))
    rename(proto.graph, {f"{INPUT}:0": INPUT, f"{OUTPUT}:0": OUTPUT})
    keep_zeros(proto.graph)
    raw = target.with_suffix(".raw.onnx")
    onnx.save(proto, raw)
    simplify(raw, target)
    raw.unlink()


#: What is made on the float file. `align` before `pools`: pools gain less than the zeros cost.
_LOWERINGS = {"groups": groups.onnx, "align": align.onnx, "pools": pools.onnx}


def lower(source: str, target: str, names: Collection[str]) -> list[str]:
    """Write the float file `source` to `target`, lowered by those of `names` that it returns; if any."""
    import onnx

    model = onnx.load(source)
    applied = [name for name, rewrite in _LOWERINGS.items() if name in names and rewrite(model)]
    if applied:
        onnx.save(model, target)
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
    """Child process: write `target` from the float file `source`; arguments and result as in the TFLite one.

    layers: kept in "float" only: no CPU computes in int16 here.
    """
    import onnx

    if precision == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel

        model = onnx.load(source)
        grouped, pools = _grouped(model.graph), _global_pools(model.graph)
        halved = convert_float_to_float16(model, keep_io_types=True, node_block_list=[*grouped, *pools])
        model = OnnxModel(halved)
        model.topological_sort()  # the casts at the ends were added after all else
        onnx.save(model.model, target)
        reason = "ONNX Runtime's float16 ones for ARM are wrong"
        notes = [f"{len(grouped)} convolutions in groups stay in float32: {reason}"] if grouped else []
        return {"ends": {}, "lowerings": [], "notes": notes}
    if precision == "int8-dynamic":
        _dynamic(source, target)
        return {"ends": {}, "lowerings": [], "notes": []}
    notes, pictures = [], np.load(calibration, mmap_mode="r")
    lowered = str(Path(target).with_suffix(".lowered.onnx"))
    if applied := lower(source, lowered, lowered_by):
        source = lowered
    if "scales" in lowered_by and scales.joins(read(source)):
        applied.append("scales")
    if per_tensor:
        equal = str(Path(target).with_suffix(".equalised.onnx"))
        notes.append(equalise(source, equal, pictures))
        source = equal
    model = _static_int8(
        source,
        target,
        pictures,
        input_range,
        emit,
        method=method,
        per_tensor=per_tensor,
        layers=layers or {},
        joined="scales" in applied,
    )
    ends = {}
    if "factors" in lowered_by and factors.fold(model):
        applied.append("factors")
    if io == "uint8":
        ends = _set_uint8_io(model)
    onnx.save(model, target)
    return {"ends": ends, "lowerings": applied, "notes": notes}


def _grouped(graph) -> list[str]:
    """Names of convolutions in groups but depthwise ones, which stay in float32.

    Of these the float16 kernel that ONNX Runtime 1.31 has for ARM computes the first group right and no
    other, and reads beyond its weights.
    """
    shapes = {value.name: tuple(value.dims) for value in graph.initializer}
    found = []
    for node in graph.node:
        groups = attribute(node, "group", 1)
        if node.op_type == "Conv" and groups > 1 and shapes.get(node.input[1], ())[:2] != (groups, 1):
            found.append(_named(node))
    return found


def _global_pools(graph) -> list[str]:
    """Names of global average pools, which stay in float32.

    The float16 kernel that ONNX Runtime 1.31 has for ARM adds in float16: over 48x48 pixels 31 dB remain,
    and over more fewer.
    """
    return [_named(node) for node in graph.node if node.op_type == "GlobalAveragePool"]


def _named(node) -> str:
    """A node's name; it is given one where it has none."""
    node.name = node.name or f"{node.output[0]}_{node.op_type}"
    return node.name


def _dynamic(source, target):
    """Dense layers multiply integers; convolutions have int8 kernels, a scale for each filter, and
    multiply floats, since the quantizer gives ConvInteger one scale for all filters."""
    import onnx
    from onnx import helper, numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source, target, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8
    )
    model = onnx.load(target)
    graph = model.graph
    kernels = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    for kernel in [tensor for tensor in graph.initializer if tensor.name in kernels]:
        value = numpy_helper.to_array(kernel)
        largest = np.abs(value.reshape(len(value), -1)).max(axis=1)
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        steps = np.rint(value / scale.reshape(-1, *[1] * (value.ndim - 1))).astype(np.int8)
        zeros = np.zeros(len(scale), np.int8)  # ONNX Runtime, told to be right on x86 without VNNI, wants them
        names = (f"{kernel.name}_{part}" for part in ("quantized", "scale", "zero_point"))
        parts = dict(zip(names, (steps, scale, zeros), strict=True))
        graph.initializer.remove(kernel)
        graph.initializer.extend(numpy_helper.from_array(part, name) for name, part in parts.items())
        graph.node.insert(0, helper.make_node("DequantizeLinear", [*parts], [kernel.name], axis=0))
    onnx.save(model, target)


def equalise(source: str, target: str, pictures: np.ndarray) -> str:
    """Write the float file `source` to `target` with its layers equalised; what was done in words."""
    import onnx
    from onnx import helper, numpy_helper

    layers, pairs, words = equalisation.equalise(source, pictures)
    model = onnx.load(source)
    graph = model.graph
    nodes = {node.output[0]: node for node in graph.node}
    for layer in layers:
        node = nodes[layer.op.outputs[0].name]
        for position, value in ((1, layer.kernel), (2, layer.bias)):
            if value is not None:
                node.input[position] = f"{node.output[0]}/{position}/equalised"
                graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), node.input[position]))
    for pair in pairs:
        if pair.limited:
            clip = nodes[pair.limited.outputs[0].name]
            limit, inner = f"{pair.tensor}/limit", f"{pair.tensor}/relu"
            value = np.float32(equalisation.SIX / pair.factors).reshape(1, -1, 1, 1)
            graph.initializer.append(numpy_helper.from_array(value, limit))
            place = list(graph.node).index(clip)
            minimum = helper.make_node("Min", [inner, limit], [pair.tensor], name=limit)
            graph.node.insert(place + 1, minimum)
            clip.CopyFrom(helper.make_node("Relu", clip.input[:1], [inner], name=clip.name))
    drop_unread_constants(graph)
    onnx.save(model, target)
    return words


def _static_int8(source, target, pictures, input_range, emit, *, method, per_tensor, layers, joined):
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import TensorsData, save_tensors_data

    graph = read(source)
    corrected = bias_correction.layers(graph)
    averaged = {layer.reached_by: layer.channels for layer in corrected.values()}
    found, means = ranges.find(source, pictures, method, 2**8, emit, averaged)
    if input_range is not None:
        found[INPUT] = input_range
    if joined:
        found = scales.join(graph, found)
    cache = Path(target).with_suffix(".ranges")
    ends = {name: tuple(np.array(end, np.float32) for end in ends) for name, ends in found.items()}
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, ends), cache)
    quantize_static(
        source,
        target,
        calibration_cache_path=cache,
        nodes_to_exclude=_in_float(onnx.load(source).graph, layers),
        quant_format=QuantFormat.QDQ,
        per_channel=not per_tensor,
        # Unsigned activations with signed weights are what VNNI multiplies in one instruction;
        # both signed are two to three times slower there.
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={
            # Quantize the picture itself, before the Transpose that it meets first.
            "ForceQuantizeNoInputCheck": True,
            "TensorQuantOverrides": {
                name: [{"scale": np.array(end / 255, np.float32), "zero_point": np.array(0, np.uint8)}]
                for name, end in pools.exact_ends(graph, 255).items()
            },
        },
    )
    cache.unlink()
    model = onnx.load(target)
    bias_correction.onnx(model, corrected, means)
    return model


def _in_float(graph, layers) -> list[str]:
    """Nodes that are not quantized: those that compute `layers`, and what 8 bits ruin."""
    # The shares of attention among hundreds of tokens: its 8-bit form has multiples of 1/256 alone.
    tensors = {node.output[0] for node in graph.node if node.op_type == "Softmax"} - {OUTPUT} | layers.keys()
    for node in reversed(graph.node):  # a layer and its activation are one, and named by its end
        if node.op_type in CLAMPS and node.output[0] in tensors:
            tensors.add(node.input[0])
    return [node.name for node in graph.node if node.output[0].partition(INNER)[0] in tensors]


def _set_uint8_io(model):
    """Take off the QuantizeLinear at the input and the DequantizeLinear at the output; the ends."""
    import onnx

    graph = model.graph
    (enter,) = [node for node in graph.node if node.input[0] == INPUT]
    (leave,) = [node for node in graph.node if OUTPUT in node.output]
    if enter.op_type != "QuantizeLinear" or leave.op_type != "DequantizeLinear":
        raise WorkFailed("the ends of this int8 graph are not quantized; export it with --io float32")
    inner_in, inner_out = enter.output[0], leave.input[0]
    graph.node.remove(enter)
    graph.node.remove(leave)
    ends = {INPUT: _scale(graph, enter), OUTPUT: _scale(graph, leave)}
    rename(graph, {inner_in: INPUT, inner_out: OUTPUT})
    for end in (graph.input[0], graph.output[0]):
        end.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    return {
        value.name: {
            "name": value.name,
            "shape": [dim.dim_value for dim in value.type.tensor_type.shape.dim],
            "dtype": "uint8",
            **ends[value.name],
        }
        for value in (graph.input[0], graph.output[0])
    }


def _scale(graph, node):
    """Scale and zero point that a QuantizeLinear or DequantizeLinear reads."""
    from onnx import numpy_helper

    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return {"scale": float(values[node.input[1]]), "zero_point": int(values[node.input[2]])}
