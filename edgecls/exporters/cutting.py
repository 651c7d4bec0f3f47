"""Graphs cut at tensors, so that every layer can be given the values that it should have been given."""

from __future__ import annotations

import copy
from collections.abc import Collection
from pathlib import Path

from edgecls.graph import read


def cut(source: Path, target: Path, tensors: Collection[str]) -> dict[str, str]:
    """Write the graph `source` to `target` with an input for each of `tensors`; the names of these inputs.

    What reads such a tensor reads the input instead; what writes it goes on writing it, for nobody.
    """
    inputs = {name: f"{name}/given" for name in tensors}
    (_cut_tflite if source.suffix == ".tflite" else _cut_onnx)(source, target, inputs)
    return inputs


def _cut_tflite(source, target, inputs):
    from edgecls.exporters import flatbuffer

    numbers = {name: number for number, name in enumerate(read(source).tensors)}
    model = flatbuffer.unpack(source.read_bytes())
    graph, given = model.subgraphs[0], {}
    for name, new in inputs.items():
        given[numbers[name]] = len(graph.tensors)
        graph.tensors.append(copy.copy(graph.tensors[numbers[name]]))
        graph.tensors[-1].name = new.encode()
    for operator in graph.operators:
        operator.inputs = [given.get(int(number), int(number)) for number in operator.inputs]
    graph.inputs = [*(number for number in map(int, graph.inputs) if number not in given), *given.values()]
    model.signatureDefs = []  # it spoke of the old inputs
    flatbuffer.write(model, target)


def _cut_onnx(source, target, inputs):
    import numpy as np
    import onnx
    from onnx import helper

    known, model = read(source).tensors, onnx.load(source)
    graph = model.graph
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = inputs.get(name, name)
    kept = [value for value in graph.input if value.name not in inputs]
    del graph.input[:]
    graph.input.extend(kept)
    for name, new in inputs.items():
        dtype = helper.np_dtype_to_tensor_dtype(np.dtype(known[name].dtype))
        graph.input.append(helper.make_tensor_value_info(new, dtype, known[name].shape))
    onnx.save(model, target)
