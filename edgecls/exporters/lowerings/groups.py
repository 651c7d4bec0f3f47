"""Narrow groups of a convolution merged into wider ones, whose kernel holds zeros between the old groups.

An int8 kernel computes 16 or 32 filters at once and leaves the rest empty where a group has fewer:
the zeros cost nothing, and the groups are fewer. Time of one layer of ResNeXt before over after, by
the width to which its groups were merged (one thread, x86 with AVX512-VNNI, best of 120 rounds):

    3x3, groups of 4 and of 8 to     8    16    32    64   128     ms before
    56x56x128, 32 of 4, LiteRT     2.1   2.9   1.8   0.9   0.5          0.47
    28x28x256, 32 of 8, LiteRT           1.4   0.8   0.4   0.2          0.11
    56x56x128, 32 of 4, ORT        1.9   3.5   5.0   4.0   3.2          3.21
    28x28x256, 32 of 8, ORT              1.8   2.4   2.0   1.3          0.79
    14x14x512, 32 of 16, LiteRT                0.6   0.3   0.2          0.04
    14x14x512, 32 of 16, ORT                   1.4   1.1   0.8          0.22

1x1 convolutions lose: of ShuffleNet v1, 0.4 to 0.9 in LiteRT, 0.4 to 1.4 in ORT. So do float ones:
zeros cost there as soon as a group fills the vector of the CPU, 16 filters here, 4 on a phone.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ai_edge_litert.schema_py_generated import ModelT
    from onnx import ModelProto

#: Filters of one group, by format: narrower groups are merged up to this.
WIDTH = {"tflite": 16, "onnx": 32}


def factor(groups: int, filters: int, width: int) -> int:
    """How many groups of so many filters are to become one, no wider than `width`."""
    return max(m for m in range(1, groups + 1) if groups % m == 0 and (m == 1 or m * filters <= width))


def merge(kernel: np.ndarray, groups: int, factor: int, axis: int) -> np.ndarray:
    """The kernel of `groups / factor` groups that computes what `kernel` does in `groups`.

    Filters lie along axis 0, the channels of a group along `axis`.
    """
    narrow = np.moveaxis(kernel, axis, -1)
    wide = np.zeros((*narrow.shape[:-1], narrow.shape[-1] * factor), kernel.dtype)
    filters, channels = len(kernel) // groups, narrow.shape[-1]
    for group in range(groups):
        rows, first = slice(group * filters, (group + 1) * filters), group % factor * channels
        wide[rows, ..., first : first + channels] = narrow[rows]
    return np.moveaxis(wide, -1, axis)


def _merged(kernel: np.ndarray, groups: int, axis: int, width: int) -> np.ndarray:
    """The kernel with its groups merged where that wins, otherwise itself."""
    channels = kernel.shape[axis]
    if channels == 1 or kernel.size == len(kernel) * channels:  # depthwise, 1x1
        return kernel
    times = factor(groups, len(kernel) // groups, width)
    return merge(kernel, groups, times, axis) if times > 1 else kernel


def tflite(model: ModelT) -> bool:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    from edgecls.exporters import flatbuffer

    graph, found = model.subgraphs[0], False
    for number, op in enumerate(graph.operators):
        if model.operatorCodes[op.opcodeIndex].builtinCode != BuiltinOperator.CONV_2D:
            continue
        image, weights = (graph.tensors[index] for index in op.inputs[:2])
        data = model.buffers[weights.buffer].data
        if data is not None:
            kernel = data.view(np.float32).reshape(weights.shape)
            wide = _merged(kernel, image.shape[3] // kernel.shape[3], 3, WIDTH["tflite"])
            if wide is not kernel:
                flatbuffer.set_weights(model, number, 1, wide)
                found = True
    return found


def onnx(model: ModelProto) -> bool:
    from onnx import numpy_helper

    graph, found = model.graph, False
    weights = {tensor.name: tensor for tensor in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    for node in graph.node:
        group = next((attribute for attribute in node.attribute if attribute.name == "group"), None)
        if node.op_type == "Conv" and group and node.input[1] in weights and readers[node.input[1]] == 1:
            tensor = weights[node.input[1]]
            kernel = numpy_helper.to_array(tensor)
            wide = _merged(kernel, group.i, 1, WIDTH["onnx"])
            if wide is not kernel:
                group.i //= wide.shape[1] // kernel.shape[1]
                tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
                found = True
    return found
