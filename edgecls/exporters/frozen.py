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

if TYPE_CHECKING:
    import keras
    from tensorflow.core.framework.graph_pb2 import GraphDef

INPUT, OUTPUT = "image", "logits"


@dataclass(frozen=True)
class Frozen:
    """A graph from `image`, float32 of `input_shape` (batch 1), to `logits` of `output_shape`."""

    graph: GraphDef
    weights: dict[str, np.ndarray]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


def freeze(model: keras.Model) -> tuple[Frozen, Callable[[np.ndarray], np.ndarray]]:
    """The inference graph of `model` for one picture, no variable left in it, and the model itself
    as a function from one picture (1, height, width, channels) to its logits (1, classes)."""
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
        return _without_constants(_inlined(concrete), shape, output_shape), run
    variables = {id(variable.handle): variable for variable in concrete.graph.variables}
    captured = {
        placeholder.op.name: variables[id(resource)].numpy() for resource, placeholder in concrete.graph.captures
    }
    frozen, weights = tf.compat.v1.GraphDef(versions=graph.versions), {}
    for node in graph.node:
        if node.op == "ReadVariableOp":
            weights[node.name] = captured[node.input[0]]
            _add_placeholder(frozen, node.name, weights[node.name])
        elif node.name not in captured:
            frozen.node.add().CopyFrom(node)
    return Frozen(frozen, weights, shape, output_shape), run


def _inlined(concrete):
    """The graph of a concrete function that calls others, its variables constants."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(concrete).graph.as_graph_def()


def _without_constants(graph, input_shape, output_shape) -> Frozen:
    import tensorflow as tf

    frozen, weights = tf.compat.v1.GraphDef(versions=graph.versions), {}
    for node in graph.node:
        value = tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else None
        if value is not None and value.dtype == np.float32 and value.ndim > 0:
            weights[node.name] = value
            _add_placeholder(frozen, node.name, value)
        else:
            frozen.node.add().CopyFrom(node)
    return Frozen(frozen, weights, input_shape, output_shape)


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
        if value is None or not wanted(value):
            graph.node.add().CopyFrom(node)
            continue
        constant = graph.node.add(name=node.name, op="Const")
        constant.attr["dtype"].type = node.attr["dtype"].type
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return graph
