"""Values of tensors inside a graph, in a runtime that keeps them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping

import numpy as np

from edgecls.graph import Graph
from edgecls.runtimes import ort


#: From an array for each input of a graph, by name, to the values of tensors as stored, by name.
Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def open(graph: Graph, names: Collection[str]) -> Run:
    """For the tensors `names`. Slower than inference, and larger: nothing is delegated, nothing is freed."""
    return (_tflite if graph.format == "tflite" else _onnx)(graph, list(names))


def _tflite(graph, names):
    from ai_edge_litert import interpreter as litert

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keeping them is for debugging
        runtime = litert.Interpreter(
            str(graph.path),
            num_threads=1,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    indices = {name: index for index, name in enumerate(graph.tensors)}
    for source in graph.inputs:
        runtime.resize_tensor_input(indices[source.name], source.shape)
    runtime.allocate_tensors()

    def run(inputs):
        for name, value in inputs.items():
            runtime.set_tensor(indices[name], value)
        runtime.invoke()
        return {name: runtime.get_tensor(indices[name]) for name in names}

    return run


def _onnx(graph, names):
    import onnx
    import onnxruntime

    model = onnx.load(graph.path)
    ends = {value.name for value in model.graph.output}
    model.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in ends
    )
    options = ort.settings(onnxruntime, threads=1)
    runtime = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda inputs: dict(zip(names, runtime.run(names, dict(inputs)), strict=True))
