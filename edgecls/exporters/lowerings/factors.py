"""Products with a positive constant taken into the scale of what is multiplied.

The integers of `x / 6` are those of x, at a sixth of the scale. ONNX Runtime would compute each anew: in
MobileNetV3 half of the products, one in each hard-swish and in each of its gates.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from edgecls.exporters._onnx_graph import drop_unread_constants

if TYPE_CHECKING:
    from onnx import ModelProto


def fold(model: ModelProto) -> bool:
    """Take such products out of an int8 graph in QDQ form; whether there was one."""
    from onnx import numpy_helper

    graph, found = model.graph, False
    single = [tensor for tensor in graph.initializer if np.prod(tensor.dims) == 1]
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in single}
    writers = {node.output[0]: node for node in graph.node}
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    for product in [node for node in graph.node if node.op_type == "Mul"]:
        operands = [writers.get(name) for name in product.input]
        leaving = readers[product.output[0]]
        kinds = [node and node.op_type for node in (*operands, *leaving)]
        if kinds != ["DequantizeLinear", "DequantizeLinear", "QuantizeLinear"]:
            continue
        constants = [node for node in operands if node.input[0] in values]
        others = [node for node in operands if node not in constants and node.input[1] in values]
        if len(constants) != 1 or len(others) != 1:
            continue
        (constant,), (moving,) = constants, others
        steps, scale, zero = (values[name].astype(np.float64).item() for name in constant.input)
        factor = (steps - zero) * scale
        if factor <= 0:
            continue
        name, old = f"{product.output[0]}/scale", values[moving.input[1]]
        values[name] = (old * factor).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(values[name], name))
        for reader in readers[leaving[0].output[0]]:
            reader.input[:] = [moving.input[0], name, moving.input[2]]
        for node in (product, leaving[0]):
            graph.node.remove(node)
        found = True
    _drop_unread(graph)
    return found


def _drop_unread(graph):
    ends = {output.name for output in graph.output}
    unread = True
    while unread:
        read = ends | {name for node in graph.node for name in node.input}
        unread = [node for node in graph.node if node.output[0] not in read]
        for node in unread:
            graph.node.remove(node)
    drop_unread_constants(graph)
