"""Names in an .onnx file."""

from __future__ import annotations

import re


def settle(graph) -> None:
    """Give tensors and nodes of a GraphProto names, and its constants an order, that depend on nothing else.

    tf2onnx counts names in an order that differs from run to run; so does the order in which ONNX
    Runtime writes constants, and which of equal ones it keeps. A constant, which some op has to
    read, is called after the first that does.
    """
    numbers: dict[str, int] = {}

    def settled(name):
        return re.sub(r"(?<=__)\d+", lambda found: str(numbers.setdefault(found[0], len(numbers))), name)

    ends = {value.name for value in (*graph.input, *graph.output)}
    names = {name: name if name in ends else settled(name) for node in graph.node for name in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    order: dict[str, int] = {}
    for node in graph.node:
        node.name = settled(node.name)
        for place, name in enumerate(node.input):
            if name in constants and name not in order:
                order[name] = len(order)
                names[name] = f"{names[node.output[0]]}/{place}"
    graph.initializer.sort(key=lambda tensor: order[tensor.name])
    for value in [value for value in graph.value_info if value.name not in names]:
        graph.value_info.remove(value)  # of what was folded away
    graph.value_info.sort(key=lambda value: names[value.name])
    for named in (*graph.initializer, *graph.value_info):
        named.name = names[named.name]
    rename(graph, names)


def rename(graph, names):
    """Give tensors other names, wherever they are written or read."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
