"""A frozen model: the TensorFlow graph without its weights, and the weights beside it.

Converters copy a graph many times over. With the weights inside, VGG-16 takes 14 GB to become a
.tflite and 135 s to become an .onnx; kept apart and put in once, 6 GB and seconds. Each weight is a
Placeholder of its name in the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgecls.errors import UsageError

if TYPE_CHECKING:
    import keras
    from tensorflow.core.framework.graph_pb2 import GraphDef, NodeDef

INPUT, OUTPUT = "image", "logits"
#: Ops that read variables, and how many of their inputs are variables.
_OF_VARIABLES = {"ReadVariableOp": 1, "ResourceGather": 1}


@dataclass(frozen=True)
class Frozen:
    """A graph from `image`, float32 of `input_shape` (batch 1), to `logits` of `output_shape`."""

    graph: GraphDef
    weights: dict[str, np.ndarray]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


def freeze(model: keras.Model, name: str = "the model") -> tuple[Frozen, Callable[[np.ndarray], np.ndarray]]:
    """The inference graph of `model` for one picture, no variable left in it, and the model itself
    as a function from one picture (1, height, width, channels) to its logits (1, classes).

    name: what errors call it. Raises UsageError for a model that is not the same function each time.
    """
    import tensorflow as tf

    shape = (1, *model.input_shape[1:])
    function = tf.function(lambda image: tf.identity(model(image, training=False), name=OUTPUT))
    # Keras wraps some convolutions in functions of their own; run as plain Python they are inlined.
    tf.config.run_functions_eagerly(True)
    try:
        concrete = function.get_concrete_function(tf.TensorSpec(shape, tf.float32, name=INPUT))
    finally:
        tf.config.run_functions_eagerly(False)
    output_shape = tuple(concrete.outputs[0].shape)
    graph = concrete.graph.as_graph_def()

    def run(picture):
        return np.asarray(concrete(tf.constant(picture)))

    if graph.library.function:  # a restored model brings compiled functions: only TensorFlow can inline those
        graph = _inlined(concrete)
    variables = {id(variable.handle): variable for variable in concrete.graph.variables}
    captured = {
        placeholder.op.name: variables.get(id(value), value) for value, placeholder in concrete.graph.captures
    }
    nodes = {node.name: node for node in graph.node}
    _skip_casts_of_pixels(nodes)
    frozen, weights = tf.compat.v1.GraphDef(versions=graph.versions), {}
    for node in _reached(nodes):
        if "Random" in node.op:
            raise UsageError(
                f"{name} draws random numbers when it answers, as a SavedModel with augmentation does; "
                "give its .keras file, or build it with augmentation and dropout for training alone"
            )
        if node.op == "ReadVariableOp" or node.name in captured:  # a constant is captured as it is
            weights[node.name] = captured[_source(nodes, (*node.input, node.name)[0])].numpy()
            _add_placeholder(frozen, node.name, weights[node.name])
        elif node.op == "ResourceGather":
            table = weights[f"{node.name}/table"] = captured[_source(nodes, node.input[0])].numpy()
            _add_placeholder(frozen, f"{node.name}/table", table)
            _add_gather(frozen, node)
        else:
            frozen.node.add().CopyFrom(node)
    return Frozen(_with_constants_folded(frozen), weights, shape, output_shape), run


def _inlined(concrete):
    """The graph of a concrete function that calls others, all in one."""
    from tensorflow.python.framework.convert_to_constants import _run_inline_graph_optimization

    return _run_inline_graph_optimization(concrete, lower_control_flow=True, aggressive_inlining=False)


def _reached(nodes) -> list[NodeDef]:
    """The nodes that the logits depend on, in order, without control inputs.

    What keeps the state of random numbers in training is left out.
    """
    found, todo = {INPUT}, [OUTPUT]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        node = nodes[name]
        node.input[:] = [source for source in node.input if not source.startswith("^")]
        inputs = node.input[_OF_VARIABLES.get(node.op, 0) :]
        todo += map(_name, inputs)
    return [node for name, node in nodes.items() if name in found]


def _with_constants_folded(graph) -> GraphDef:
    """The graph with what depends on neither the picture nor a weight computed: converters leave some of it,
    such as the identity matrix that pictures are cut into patches with."""
    import tensorflow as tf

    nodes = {node.name: node for node in graph.node}
    varying, before = {name for name, node in nodes.items() if node.op == "Placeholder"}, 0
    while len(varying) > before:
        before = len(varying)
        varying.update(name for name, node in nodes.items() if any(_name(tensor) in varying for tensor in node.input))
    read = {tensor for name in varying for tensor in nodes[name].input}
    folded = sorted(t for t in read if _name(t) not in varying and nodes[_name(t)].op != "Const")
    if not folded:
        return graph
    with tf.Graph().as_default() as alone, tf.compat.v1.Session(graph=alone) as session:
        tf.import_graph_def(graph, name="")
        values = session.run([tensor if ":" in tensor else f"{tensor}:0" for tensor in folded])
    for tensor, value in zip(folded, values, strict=True):
        name = f"{tensor.replace(':', '/')}/folded"
        nodes[name] = _constant(name, value)
        for node in nodes.values():
            node.input[:] = [name if source == tensor else source for source in node.input]
    return tf.compat.v1.GraphDef(versions=graph.versions, node=_reached(nodes))


def _constant(name, value):
    import tensorflow as tf

    node = tf.compat.v1.NodeDef(name=name, op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return node


def _skip_casts_of_pixels(nodes):
    """Leave out the casts of the picture to whole numbers and back, of a model that takes uint8: its pixels are
    whole numbers."""
    import tensorflow as tf

    for node in [node for node in nodes.values() if node.op == "Cast"]:
        inner = nodes[_source(nodes, node.input[0])]
        if inner.op == "Cast" and _source(nodes, inner.input[0]) == INPUT:
            types = (inner.attr["SrcT"], inner.attr["DstT"], node.attr["DstT"])
            first, between, last = (tf.as_dtype(attribute.type) for attribute in types)
            if first == last and between.is_integer:
                node.op, node.input[0] = "Identity", inner.input[0]
                node.attr.clear()
                node.attr["T"].type = last.as_datatype_enum


def last_op(frozen: Frozen) -> str:
    """The kind of the op that gives the logits."""
    nodes = {node.name: node for node in frozen.graph.node}
    return nodes[_source(nodes, OUTPUT)].op


def _name(tensor: str) -> str:
    """The name of the node that has a tensor as an output."""
    return tensor.partition(":")[0]


def _source(nodes, tensor) -> str:
    """The name of the node that a tensor comes from, Identity nodes skipped."""
    name = _name(tensor)
    return _source(nodes, nodes[name].input[0]) if nodes[name].op == "Identity" else name


def _add_gather(graph, node):
    """GatherV2 along the first axis, in place of a ResourceGather whose table is beside it."""
    import tensorflow as tf

    axis = f"{node.name}/axis"
    graph.node.append(_constant(axis, np.int32(0)))
    gather = graph.node.add(name=node.name, op="GatherV2", input=[f"{node.name}/table", node.input[1], axis])
    gather.attr["Tparams"].type = node.attr["dtype"].type
    gather.attr["Tindices"].CopyFrom(node.attr["Tindices"])
    gather.attr["Taxis"].type = tf.int32.as_datatype_enum
    gather.attr["batch_dims"].CopyFrom(node.attr["batch_dims"])


def _add_placeholder(graph, name, value):
    import tensorflow as tf

    node = graph.node.add(name=name, op="Placeholder")
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr["shape"].shape.CopyFrom(tf.TensorShape(value.shape).as_proto())


def with_constants(frozen: Frozen, wanted=lambda value: True) -> GraphDef:
    """The graph with those weights put in that `wanted` says."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef(versions=frozen.graph.versions)
    for node in frozen.graph.node:
        value = frozen.weights.get(node.name)
        graph.node.append(node if value is None or not wanted(value) else _constant(node.name, value))
    return graph
