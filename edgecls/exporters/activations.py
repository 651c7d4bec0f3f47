"""What a float file computes on the way from the picture to the logits."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

#: From one picture to the name and the value of the input and each float tensor that is computed from
#: it, in graph order.
Run = Callable[[np.ndarray], Iterator[tuple[str, np.ndarray]]]


def open(path: str) -> Run:
    """For a float .tflite or .onnx file with one input. Its runtime may not fuse ops that it would
    otherwise, so that this is slower than inference and not equal to it in the last bits."""
    return _tflite(path) if Path(path).suffix == ".tflite" else _onnx(path)


def _tflite(path):
    from ai_edge_litert.interpreter import Interpreter

    from edgecls.graph import read

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keeping all tensors takes memory
        interpreter = Interpreter(model_path=path, experimental_preserve_all_tensors=True, num_threads=1)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    places = {tensor["name"]: tensor["index"] for tensor in interpreter.get_tensor_details()}
    names = [tensor.name for op in read(path).ops for tensor in op.outputs if tensor.floating]

    def run(picture):
        interpreter.set_tensor(source["index"], picture)
        interpreter.invoke()
        yield source["name"], picture
        for name in names:
            yield name, interpreter.get_tensor(places[name])

    return run


def _onnx(path):
    import onnx
    import onnxruntime as ort

    model = onnx.load(path)
    floats = {
        value.name
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    (sink,) = model.graph.output
    names = [name for node in model.graph.node for name in node.output if name in floats or name == sink.name]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()

    def run(picture):
        yield source.name, picture
        yield from zip(names, session.run(names, {source.name: picture}), strict=True)

    return run
