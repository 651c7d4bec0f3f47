"""Average pools written as depthwise convolutions with equal weights.

XNNPACK takes no int8 average pool: each cuts the graph. ONNX Runtime's is slow: in Inception v3 nine
of them took a third of the time of 94 convolutions and all else. Where the mean leaves out what pads the
picture, a product follows with a factor for each pixel, which is 1 but near the edges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgecls.exporters.lowerings import INNER
from edgecls.graph import Graph

if TYPE_CHECKING:
    from ai_edge_litert.schema_py_generated import ModelT
    from onnx import ModelProto

#: Values under a window, at most: larger pools are few, and take most of a picture.
_LARGEST = 25


def edge_factors(size: int, window: int, stride: int, before: int, after: int) -> np.ndarray:
    """Along one axis of a picture: window over how much of it lies inside, for each place of the window."""
    starts = np.arange((size + before + after - window) // stride + 1) * stride - before
    return window / (np.minimum(starts + window, size) - np.maximum(starts, 0))


def _edges(sizes, windows, strides, pads) -> np.ndarray | None:
    """Of both axes together, (height, width); None where all are 1. pads: (before, after) of each axis."""
    rows, columns = (edge_factors(*axis) for axis in zip(sizes, windows, strides, *zip(*pads)))
    factors = np.outer(rows, columns)
    return None if (factors == 1).all() else factors


def exact_ends(graph: Graph, integers: int) -> dict[str, float]:
    """By tensor, of the factors near the edges: what the last of so many integers is to stand for, so that
    each factor is a whole number of steps."""
    ends = {}
    for name, tensor in graph.tensors.items():
        if name.endswith(f"{INNER}/edges"):
            factors = np.unique(graph.values(tensor).astype(np.float64))
            steps = np.arange(int(integers / factors[-1]), 0, -1)  # that 1 may be
            products = np.outer(steps, factors)
            whole = steps[(np.abs(products - np.rint(products)) < 1e-4).all(axis=1)]
            if len(whole):
                ends[name] = integers / whole[0]
    return ends


def tflite(model: ModelT) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    from edgecls.exporters import flatbuffer

    builtin, tensors = schema.BuiltinOperator, model.subgraphs[0].tensors

    def parts(pool):
        (x,), (y,), options = pool.inputs, pool.outputs, pool.builtinOptions
        windows, strides = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
        if np.prod(windows) > _LARGEST:
            return None
        name, (_, *sizes, channels) = tensors[y].name + INNER.encode(), tensors[x].shape
        same = options.padding == schema.Padding.SAME
        pads = [_same(*axis) if same else (0, 0) for axis in zip(sizes, windows, strides, strict=True)]
        edges = _edges(sizes, windows, strides, pads)
        equal = np.full((1, *windows, channels), 1 / np.prod(windows))
        weights = flatbuffer.add_tensor(model, name + b"/weights", equal.shape, equal)
        bias = flatbuffer.add_tensor(model, name + b"/bias", [channels], np.zeros(channels))
        convolve = schema.DepthwiseConv2DOptionsT()
        convolve.padding, convolve.depthMultiplier = options.padding, 1
        convolve.strideH, convolve.strideW = strides
        sources = [x, weights, bias]
        if edges is None:
            convolve.fusedActivationFunction = options.fusedActivationFunction
            return [flatbuffer.make_operator(model, builtin.DEPTHWISE_CONV_2D, sources, y, options=convolve)]
        inner = flatbuffer.add_tensor(model, name + b"/sum", tensors[y].shape)
        factors = flatbuffer.add_tensor(model, name + b"/edges", (1, *edges.shape, 1), edges)
        multiply = schema.MulOptionsT()
        multiply.fusedActivationFunction = options.fusedActivationFunction
        return [
            flatbuffer.make_operator(model, builtin.DEPTHWISE_CONV_2D, sources, inner, options=convolve),
            flatbuffer.make_operator(model, builtin.MUL, [inner, factors], y, options=multiply),
        ]

    return flatbuffer.replace(model, builtin.AVERAGE_POOL_2D, parts)


def _same(size: int, window: int, stride: int) -> tuple[int, int]:
    """What TFLite's SAME puts before and after an axis."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def onnx(model: ModelProto) -> bool:
    import onnx
    from onnx import helper, numpy_helper

    graph, found = model.graph, False
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.input, *inferred.value_info)
    shapes = {v.name: [dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in values}
    for place, node in reversed([*enumerate(graph.node)]):
        options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        windows = options.get("kernel_shape", ())
        if node.op_type != "AveragePool" or len(windows) != 2 or np.prod(windows) > _LARGEST:
            continue
        if options.get("ceil_mode") or options.get("auto_pad", b"NOTSET") != b"NOTSET":
            continue
        strides, pads = options.get("strides", [1, 1]), options.get("pads", [0] * 4)
        _, channels, *sizes = shapes[node.input[0]]
        around = [(0, 0)] * 2 if options.get("count_include_pad") else [*zip(pads[:2], pads[2:], strict=True)]
        edges = _edges(sizes, windows, strides, around)
        (sink,) = node.output
        name = sink + INNER
        parts = {f"{name}/weights": np.full((channels, 1, *windows), 1 / np.prod(windows), np.float32)}
        inner = sink if edges is None else f"{name}/sum"
        window = {"kernel_shape": windows, "strides": strides, "pads": pads, "group": channels}
        nodes = [helper.make_node("Conv", [node.input[0], *parts], [inner], name=inner, **window)]
        if edges is not None:
            parts[f"{name}/edges"] = edges[None, None].astype(np.float32)
            nodes.append(helper.make_node("Mul", [inner, f"{name}/edges"], [sink], name=sink))
        graph.node.remove(node)
        for each in reversed(nodes):
            graph.node.insert(place, each)
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in parts.items())
        found = True
    return found
