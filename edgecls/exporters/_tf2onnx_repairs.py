"""Repairs of tf2onnx 1.17."""

from __future__ import annotations

import functools
import os

#: The passes that our simplifier has no equal of.
_PASSES = ("optimize_transpose", "global_pool_optimizer", "remove_identity")


@functools.cache
def apply() -> None:
    """Put the repairs in place; conversions of this process have them from then on."""
    import numpy as np
    from tf2onnx import optimizer, tfonnx, utils
    from tf2onnx.handler import tf_op
    from tf2onnx.optimizer import transpose_optimizer as transposes
    from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer

    handle_add = TransposeOptimizer._add_handler

    def add_of_scalar(self, transpose, node):
        # An Add with a scalar constant raises in the original, which ends the whole optimization.
        other = node.inputs[1]
        if other.is_const() and other.get_tensor_value(as_list=False).ndim == 0:
            return self._handle_node_having_branches(transpose, node)
        return handle_add(self, transpose, node)

    def fold_reshapes(self):
        # The original sorts the whole graph after each: time grows with the square of the depth.
        graph = self._g
        self._output_names = [graph.get_node_by_output(name).name for name in graph.outputs]
        for node in [node for node in graph.get_nodes() if node.type == "Reshape"]:
            if all(source.is_const() for source in node.inputs):
                value, shape = (source.get_tensor_value(as_list=False) for source in node.inputs)
                (name,) = node.output
                graph.remove_node(node.name)
                # A size of 0 in an ONNX Reshape is that of the value.
                graph.make_const(name, value.reshape([size or value.shape[i] for i, size in enumerate(shape)]))
        graph.topological_sort(graph.get_nodes())

    def in_sweeps(self, graph):
        # The original begins again at the first node after each Transpose it has moved, which takes
        # the square of the depth too.
        self._g = graph
        self.pre_optimize_action()
        moved = True
        while moved:
            moved = False
            for node in list(graph.get_nodes()):
                if graph.get_node_by_name(node.name) is not node:  # gone since the sweep began
                    continue
                if transposes.is_transpose(node) and self._handle_nhwc_tranpose(node):
                    moved = self.graph_been_opt = True
                elif graph.get_node_by_name(node.name) is node and transposes.is_useless_transpose(node):
                    self._remove_useless_tranpose(node)
                    moved = True
        self.merge_duplicated_transposes()
        self.post_optimize_action()
        return graph

    def keep_products(graph, nodes):
        # The original makes a Gemm of MatMul and Add even where others read the MatMul, which is
        # then computed twice, and with a scalar for a bias, which no quantizer takes. ONNX Runtime
        # joins them well when the file is simplified.
        return nodes

    @tf_op("Erfc")
    class Erfc:
        # Exact GELU in TensorFlow. The original leaves the op as it is, which ONNX has not.
        @classmethod
        def version_9(cls, ctx, node, **_):
            one = ctx.make_const(utils.make_name("one"), np.float32(1)).output[0]
            erf = ctx.make_node("Erf", node.input).output[0]
            shape, dtype = ctx.get_shape(node.output[0]), ctx.get_dtype(node.output[0])
            ctx.remove_node(node.name)
            ctx.make_node("Sub", [one, erf], outputs=node.output, name=node.name, shapes=[shape], dtypes=[dtype])

    passes = {name: step for name, step in optimizer._get_optimizers().items() if name in _PASSES}
    optimizer._get_optimizers = lambda: passes
    # Otherwise a pass that fails is only logged, and each pass works on a copy of the graph.
    os.environ["TF2ONNX_CATCH_ERRORS"] = "FALSE"
    TransposeOptimizer._add_handler = add_of_scalar
    TransposeOptimizer.pre_optimize_action = fold_reshapes
    TransposeOptimizer._optimize_at_current_graph_level = in_sweeps
    tfonnx.rewrite_gemm = keep_products
