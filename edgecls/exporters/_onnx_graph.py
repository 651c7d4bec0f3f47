"""What rewrites of an ONNX graph have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto


def attribute(node: NodeProto, name: str, default: int) -> int:
    """A whole number that a node says, or what its absence stands for."""
    return next((said.i for said in node.attribute if said.name == name), default)


def drop_unread_constants(graph: GraphProto) -> None:
    """Take out initializers that neither a node reads nor the graph gives out."""
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
