"""To ONNX: one conversion in float, every other precision from that file."""

from __future__ import annotations

import gc
import time
from pathlib import Path

from edgecls.errors import WorkFailed
from edgecls.exporters import frozen as frozen_model
from edgecls.exporters.frozen import INPUT, OUTPUT

#: tf2onnx writes GlobalAveragePool up to 17; from 18 on a ReduceMean that quantizes worse.
OPSET = 17

_WAIT_SECONDS = 0.05


def convert(frozen: str, target: str, emit) -> None:
    """Child process: write the float model from the frozen one in folder `frozen`.

    May be started while that is still being written: importing the converter takes seconds.
    """
    import tf2onnx

    from edgecls.exporters import _tf2onnx_repairs

    while not Path(frozen).exists():
        time.sleep(_WAIT_SECONDS)
    emit({"stage": "convert"})
    model = frozen_model.load(Path(frozen))
    _tf2onnx_repairs.apply()
    gc.collect()
    gc.freeze()
    # Kernels stay out of the conversion as inputs of the graph; vectors go in, to be folded.
    kernels = {name: value for name, value in model.weights.items() if value.ndim > 1}
    graph = frozen_model.with_constants(model, lambda value: value.ndim <= 1)
    proto, _ = tf2onnx.convert.from_graph_def(
        graph,
        input_names=[f"{name}:0" for name in (INPUT, *kernels)],
        output_names=[f"{OUTPUT}:0"],
        opset=OPSET,
    )
    raw = Path(target).with_suffix(".raw.onnx")
    _save_with(kernels, proto, raw)
    simplify(raw, Path(target))
    raw.unlink()


def _save_with(kernels, proto, path):
    from onnx import numpy_helper, save

    inputs = [value for value in proto.graph.input if value.name.removesuffix(":0") not in kernels]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    for name, value in kernels.items():
        proto.graph.initializer.append(numpy_helper.from_array(value, f"{name}:0"))
    for node in proto.graph.node:
        node.input[:] = [INPUT if name == f"{INPUT}:0" else name for name in node.input]
        node.output[:] = [OUTPUT if name == f"{OUTPUT}:0" else name for name in node.output]
    proto.graph.input[0].name, proto.graph.output[0].name = INPUT, OUTPUT
    save(proto, path)


def simplify(source: Path, target: Path) -> None:
    """Fold constants and batch norms and fuse what every runtime can, by ONNX Runtime's basic level.

    Nothing but standard operators remains. Quantizing an unfolded graph costs 2 dB and half the speed.
    """
    import onnx
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    model = onnx.load(target)
    used = {node.domain for node in model.graph.node}
    domains = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(domains)
    model.producer_name, model.producer_version, model.graph.name = "edgecls", "", "classifier"
    onnx.save(onnx.shape_inference.infer_shapes(model), target)


def quantize(
    source: str,
    target: str,
    precision: str,
    calibration: str | None,
    input_range: tuple[float, float] | None,
    io: str,
    emit,
) -> None:
    """Child process: write `target` from the float file `source`; arguments as in the TFLite one."""
    import numpy as np
    import onnx

    if precision == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)
        return
    _static_int8(source, target, np.load(calibration, mmap_mode="r"), input_range, emit)
    if io == "uint8":
        model = onnx.load(target)
        _set_uint8_io(model)
        onnx.save(model, target)


def _static_int8(source, target, pictures, input_range, emit):
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    # Quantize the picture itself, before the Transpose that it meets first.
    options = {"ForceQuantizeNoInputCheck": True}
    if input_range is not None:
        low, high = input_range
        options["TensorQuantOverrides"] = {INPUT: [{"rmin": low, "rmax": high}]}
    quantize_static(
        source,
        target,
        _Pictures(pictures, emit),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        # Unsigned activations with signed weights are what VNNI multiplies in one instruction;
        # both signed are two to three times slower there.
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options=options,
    )


class _Pictures:
    """Hands calibration pictures to the quantizer one by one."""

    def __init__(self, pictures, emit):
        self._pictures, self._emit, self._done = pictures, emit, 0

    def get_next(self):
        if self._done == len(self._pictures):
            return None
        picture = self._pictures[self._done]
        self._done += 1
        self._emit({"done": self._done, "total": len(self._pictures)})
        return {INPUT: picture}


def _set_uint8_io(model):
    """Take off the QuantizeLinear at the input and the DequantizeLinear at the output."""
    import onnx

    graph = model.graph
    (enter,) = [node for node in graph.node if node.input[0] == INPUT]
    (leave,) = [node for node in graph.node if OUTPUT in node.output]
    if enter.op_type != "QuantizeLinear" or leave.op_type != "DequantizeLinear":
        raise WorkFailed("the ends of this int8 graph are not quantized; export it with --io float32")
    inner_in, inner_out = enter.output[0], leave.input[0]
    graph.node.remove(enter)
    graph.node.remove(leave)
    for node in graph.node:
        node.input[:] = [INPUT if name == inner_in else OUTPUT if name == inner_out else name for name in node.input]
        node.output[:] = [OUTPUT if name == inner_out else name for name in node.output]
    for end in (graph.input[0], graph.output[0]):
        end.type.tensor_type.elem_type = onnx.TensorProto.UINT8
