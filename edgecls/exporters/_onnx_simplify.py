"""Making an .onnx graph simpler, and keeping what a runtime would simplify wrongly."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np

from edgecls.exporters._onnx_graph import drop_unread_constants
from edgecls.exporters._onnx_names import rename, settle


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
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    model = onnx.shape_inference.infer_shapes(model)
    _join_dense(model.graph)
    _drop_idle_reshapes(model.graph)
    _share_numbers(model.graph)
    settle(model.graph)
    onnx.save(model, target)


def _join_dense(graph):
    """Make a Gemm and a Reshape of each MatMul, Reshape, Add, as dense layers on tokens are written:
    one operator with a bias, which quantizers know."""
    shapes, weights = _shapes(graph), {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    writers = {node.output[0]: node for node in graph.node}
    readers = collections.Counter(name for node in graph.node for name in node.input)

    def written_by(kind, name):
        return writers[name] if name in writers and writers[name].op_type == kind and readers[name] == 1 else None

    for add in list(graph.node):
        reshape = written_by("Reshape", add.input[0]) if add.op_type == "Add" else None
        product = written_by("MatMul", reshape.input[0]) if reshape else None
        if product and len(shapes[product.input[0]]) == 2 and product.input[1] in weights:
            width = weights[product.input[1]][-1:]
            if weights.get(add.input[1]) == shapes[reshape.output[0]][-1:] == width:
                product.op_type = "Gemm"
                product.input.append(add.input[1])
                reshape.output[0] = add.output[0]
                graph.node.remove(add)


def _drop_idle_reshapes(graph):
    """Take out each Reshape to the shape that is there already and all but the last of several in a row."""
    from onnx import TensorProto, numpy_helper

    shapes, before = _shapes(graph), {}
    integers = [tensor for tensor in graph.initializer if tensor.data_type == TensorProto.INT64]
    whole = {tensor.name for tensor in integers if numpy_helper.to_array(tensor).all()}
    for node in [node for node in graph.node if node.op_type == "Reshape"]:
        source, target = node.input[0], node.output[0]
        if node.input[1] in whole:  # a 0 in the new shape copies a size of the old one
            source = node.input[0] = before.get(source, source)
        before[target] = source
        if target in shapes and shapes.get(source) == shapes[target]:
            graph.node.remove(node)
            rename(graph, {target: source})
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for node in [node for node in graph.node if node.op_type == "Reshape" and node.output[0] not in read]:
        graph.node.remove(node)
    drop_unread_constants(graph)


def _share_numbers(graph):
    """Let all readers of one number read one constant; ONNX Runtime leaves several in some runs, one in others."""
    from onnx import numpy_helper

    kept, others = {}, {}
    for tensor in [tensor for tensor in graph.initializer if np.prod(tensor.dims) == 1]:
        number = tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes()
        if number in kept:
            others[tensor.name] = kept[number]
            graph.initializer.remove(tensor)
        kept.setdefault(number, tensor.name)
    rename(graph, others)


def keep_zeros(graph):
    """Make the zeros around a MaxPool's input -0.0 where that may be negative.

    ONNX Runtime, here and when the file is run, takes a Pad with 0.0 into the pool behind it as if it
    were one with -inf.
    """
    from onnx import numpy_helper

    zero = numpy_helper.from_array(np.array(-0.0, np.float32), "negative_zero")
    zeros = {t.name for t in graph.initializer if t.dims == [] and numpy_helper.to_array(t) == 0}
    writers = {node.output[0]: node for node in graph.node}

    def before(node):
        node = writers.get(node.input[0])
        return before(node) if node is not None and node.op_type == "Transpose" else node

    for pool in [node for node in graph.node if node.op_type == "MaxPool"]:
        pad = before(pool)
        if pad is not None and pad.op_type == "Pad" and zeros.issuperset(pad.input[2:]):
            source = before(pad)
            if source is None or source.op_type != "Relu":
                pad.input[2:] = [zero.name]
                if zero not in graph.initializer:
                    graph.initializer.append(zero)


def _shapes(graph):
    return {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info)
    }
