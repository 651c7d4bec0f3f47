"""LiteRT, the runtime of `.tflite` files, with its XNNPACK delegate."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgecls.artifact import TensorInfo
from edgecls.errors import BadFile, WorkFailed
from edgecls.runtimes import base

_PACKAGE = "ai-edge-litert"


class LiteRT:
    name = "litert"
    format = "tflite"

    @property
    def version(self):
        return base.version(self.name, _PACKAGE)

    def load(self):
        return base.library(self.name, _PACKAGE, "ai_edge_litert.interpreter")

    def open(self, path: Path, *, threads: int, size: int | None = None):
        litert = self.load()
        try:
            interpreter = litert.Interpreter(model_path=str(path), num_threads=threads)
        except ValueError as error:
            if "Flatbuffer" in str(error) or "size 0" in str(error):
                raise BadFile(f"{str(path)!r} is not a TFLite model: {_reason(error)}") from error
            raise WorkFailed(f"LiteRT refuses {path.name}: {_reason(error)}") from error
        for tensor in interpreter.get_input_details():
            shape = base.closed(path, tensor["name"], tensor["shape_signature"].tolist(), size)
            interpreter.resize_tensor_input(tensor["index"], shape)
        try:
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise WorkFailed(f"LiteRT refuses {path.name}: {_reason(error)}") from error
        return _Session(path.name, interpreter, threads)


class _Session:
    def __init__(self, file, interpreter, threads):
        self._file, self._interpreter = file, interpreter
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self.inputs = tuple(_info(tensor) for tensor in inputs)
        self.outputs = tuple(_info(tensor) for tensor in outputs)
        self._input_indices = [tensor["index"] for tensor in inputs]
        self._output_indices = [tensor["index"] for tensor in outputs]
        self.options = {"num_threads": threads}
        self.delegation = _delegation(interpreter._interpreter, self._output_indices)

    def set_inputs(self, values):
        for index, value in zip(self._input_indices, values, strict=True):
            self._interpreter.set_tensor(index, value)

    def invoke(self):
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise WorkFailed(f"LiteRT failed to run {self._file}: {_reason(error)}") from error

    def results(self):
        return [self._interpreter.get_tensor(index) for index in self._output_indices]


def _info(tensor) -> TensorInfo:
    import numpy as np

    scale, zero_point = tensor["quantization"]  # scale 0: not quantized
    return TensorInfo(
        name=tensor["name"],
        shape=tuple(tensor["shape"].tolist()),
        dtype=np.dtype(tensor["dtype"]).name,
        scale=float(scale) if scale else None,
        zero_point=int(zero_point) if scale else None,
    )


def _delegation(graph, outputs) -> base.Delegation:
    """Read from the native interpreter's node list, which has no public face in Python.

    A delegate's nodes are appended to the file's own, which stay in the list. The file's nodes that
    still run are those that the outputs are reached from once delegates stand for what they took.
    """
    names = [graph.NodeName(k) for k in range(graph.NumNodes())]
    producer = {int(tensor): k for k in range(len(names)) for tensor in graph.NodeOutputs(k)}
    running, todo = set(), [int(tensor) for tensor in outputs]
    while todo:
        node = producer.get(todo.pop())
        if node is not None and node not in running:
            running.add(node)
            todo += [int(tensor) for tensor in graph.NodeInputs(node)]
    partitions = sum("DELEGATE" in name for name in names)
    outside = Counter(names[k] for k in running if "DELEGATE" not in names[k])
    nodes = len(names) - partitions
    return base.Delegation(
        delegate="xnnpack",
        nodes=nodes,
        delegated=nodes - outside.total(),
        partitions=partitions,
        outside=dict(sorted(outside.items())),
    )


def _reason(error) -> str:
    return " ".join(str(error).split())
