"""To TFLite: one conversion in float, every other precision from that file."""

from __future__ import annotations

import re
import re
from pathlib import Path

from edgecls.errors import BadFile, UsageError, WorkFailed
from edgecls.exporters import flatbuffer
from edgecls.exporters.frozen import INPUT, OUTPUT, Frozen, with_constants
from edgecls.exporters.source import graph_facts


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


def quantize(
    source: str,
    target: str,
    precision: str,
    calibration: str | None,
    input_range: tuple[float, float] | None,
    io: str,
    emit,
) -> None:
    """Child process: write `target` from the float file `source`.

    calibration: a .npy of inputs (count, 1, height, width, channels), for int8.
    input_range: what the input can be, where known; calibration pictures may not reach its ends.
    """
    import numpy as np
    from litert_quantizer import quantizer

    if precision == "fp16":
        made = quantizer.Quantizer(source, _FLOAT16)
        model = flatbuffer.unpack(made.quantize().quantized_model)
    else:
        model = flatbuffer.unpack(_static_int8(source, np.load(calibration, mmap_mode="r"), input_range, emit))
        flatbuffer.set_io(model, io)
    flatbuffer.sign(model)
    flatbuffer.write(model, Path(target))


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


def _static_int8(source, pictures, input_range, emit) -> bytes:
    import numpy as np
    from litert_quantizer import calibrator, quantizer, recipe
    from litert_quantizer.utils.qsv_utils import min_max_update

    graph = Path(source).read_bytes()
    in_float = [
        {"regex": f"^{re.escape(name)};?$", "operation": "*", "algorithm_key": "no_quantize"}
        for name in flatbuffer.fragile(graph)
    ]
    made = quantizer.Quantizer(source, recipe.static_wi8_ai8() + in_float)
    ranges = calibrator.Calibrator(
        source,
        num_threads=1,
        mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=min_max_update,  # the default is a moving average, which clips
    )
    for done, picture in enumerate(pictures):
        batch = {flatbuffer.SIGNATURE: [{flatbuffer.INPUT: np.ascontiguousarray(picture)}]}
        ranges.calibrate(batch, made._recipe_manager)
        emit({"done": done + 1, "total": len(pictures)})
    observed = ranges.get_model_qsvs()
    if input_range is not None:
        low, high = input_range
        observed[flatbuffer.INPUT] = {"min": np.array(low), "max": np.array(high)}
    shapes = flatbuffer.shapes(graph)
    for name, ends in observed.items():
        if not np.isfinite([ends["min"], ends["max"]]).all():
            raise WorkFailed(f"calibration found a value that is not finite in tensor {name!r}")
        # As many axes as the tensor: a concatenation with a constant fails without.
        observed[name] = {end: np.reshape(value, (1,) * len(shapes[name])) for end, value in ends.items()}
    return made.quantize(observed).quantized_model


def adopt(source: str, target: str, emit) -> dict:
    """Child process: write a float .tflite of the user's as one of ours, names and signature added.

    Returns the model's facts, as `making.make` has them. Raises BadFile, UsageError for one that is
    not a float classifier.
    """
    name = Path(source).name
    try:
        model = flatbuffer.unpack(Path(source).read_bytes())
    except Exception as error:  # damaged flatbuffers make their reader raise anything
        raise BadFile(f"{name} is not a .tflite file") from error
    facts = _facts(model, name)
    for tensor in model.subgraphs[0].tensors:
        tensor.shapeSignature = None  # an open batch is 1 from here on
    flatbuffer.sign(model)
    flatbuffer.write(model, Path(target))
    return facts


def _facts(model, name):
    graph = model.subgraphs[0]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        ends = f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
        raise UsageError(f"{name} has {ends}; a classifier has one of each")
    custom = sorted(code.customCode.decode() for code in model.operatorCodes if code.customCode)
    if custom:
        raise UsageError(f"{name} needs custom ops that phones have not: {', '.join(custom)}")
    if {tensor.type for tensor in graph.tensors} & _narrow_types():
        raise UsageError(f"{name} is quantized already; give the float32 model it was made from")
    source, sink = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    _, *sizes = source.shape if source.shapeSignature is None else source.shapeSignature
    return graph_facts(name, [int(source.shape[0]), *map(int, sizes)], [int(size) for size in sink.shape])


def _narrow_types():
    from ai_edge_litert.schema_py_generated import TensorType

    return {TensorType.FLOAT16, TensorType.INT16, TensorType.INT8, TensorType.UINT8, TensorType.INT4}
