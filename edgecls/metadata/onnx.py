"""The properties of an .onnx file, by ONNX's own names where it has some (docs/IR.md, docs/MetadataProps.md).

They are fields of the outermost message: these are taken out and put behind all others, which are copied
as they are.
"""

from __future__ import annotations

import ast
import json
import math
import mmap
from collections.abc import Iterator, Mapping
from typing import IO, Any

from edgecls.graph.protobuf import delimited, fields, varint
from edgecls.metadata import Metadata

# Numbers of fields in onnx.proto.
_DOC_STRING, _GRAPH, _PROPERTY = 6, 7, 14
_KEY, _VALUE = 1, 2
_GRAPH_OUTPUT, _TYPE, _TENSOR_TYPE, _SHAPE, _DIM = 12, 2, 1, 2, 1
#: Tag of the one field of a dimension that is a number: its size.
_SIZE = 0x08

#: Properties that are words. The description is ONNX's doc_string.
_WORDS = {
    "name": "name",
    "version": "version",
    "author": "model_author",
    "licence": "model_license",
    "input": "input",
}
#: Properties that are lists in JSON, and the type of their items.
_LISTS = {"labels": ("names", str), "mean": ("mean", float), "std": ("std", float)}
_ALSO = {float: int, str: str}
_COLOR = "Image.BitmapPixelFormat"
_COLORS = {"rgb": "Rgb8", "bgr": "Bgr8", "gray": "Gray8"}
#: Longest property that is parsed as a list, letters.
_LONGEST = 2_000_000


def read(data: mmap.mmap) -> Metadata | None:
    """See `metadata.read`. Raises ValueError for what is damaged."""
    description, properties = _parts(data)
    found, kept = _understood(properties)
    if description is None and not found and not kept:
        return None
    return Metadata(description=description, kept=tuple(kept), **found)


def outputs(data: mmap.mmap) -> int | None:
    """See `metadata.outputs`."""
    graphs = list(_bodies(data, 0, len(data), _GRAPH))
    ends = [end for graph in graphs for end in _bodies(data, *graph, _GRAPH_OUTPUT)]
    if not graphs:
        raise ValueError("it has no graph")
    if len(ends) != 1:
        return None
    spans = ends
    for number in (_TYPE, _TENSOR_TYPE, _SHAPE, _DIM):
        spans = [inner for span in spans for inner in _bodies(data, *span, number)]
    sizes = [varint(data, at + 1)[0] if stop > at and data[at] == _SIZE else 0 for at, stop in spans]
    return math.prod(sizes[1:] if len(sizes) > 1 else sizes) or None if sizes else None


def write(data: mmap.mmap, metadata: Metadata, file: IO[bytes]) -> None:
    """See `metadata.write`: the whole new file goes into the empty `file`."""
    _, properties = _parts(data)
    _, kept = _understood(properties)
    given = {name: getattr(metadata, key) for key, name in _WORDS.items()}
    given |= {name: _listed(getattr(metadata, key)) for key, (name, _) in _LISTS.items()}
    given[_COLOR] = _COLORS.get(metadata.color)
    with memoryview(data) as view:
        at = 0
        for number, begin, _, end in fields(data, 0, len(data)):
            if number in (_DOC_STRING, _PROPERTY):
                with view[at:begin] as before:
                    file.write(before)
                at = end
        with view[at:] as rest:
            file.write(rest)
    if metadata.description is not None:
        file.write(delimited(_DOC_STRING, metadata.description.encode()))
    for key, value in (kept | {key: value for key, value in given.items() if value is not None}).items():
        file.write(delimited(_PROPERTY, delimited(_KEY, key.encode()) + delimited(_VALUE, value.encode())))


def _parts(data) -> tuple[str | None, dict[str, str]]:
    """(description, properties)"""
    description, properties, whole = None, {}, False
    for number, _, body, end in fields(data, 0, len(data)):
        whole |= number == _GRAPH
        if number == _DOC_STRING:
            description = data[body:end].decode("utf-8") or None
        elif number == _PROPERTY:
            words = {key: data[at:stop].decode("utf-8") for key, _, at, stop in fields(data, body, end)}
            properties[words.get(_KEY, "")] = words.get(_VALUE, "")
    if not whole:
        raise ValueError("it has no graph")
    return description, properties


def _understood(properties: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """(fields of Metadata, properties that are none)"""
    kept = dict(properties)
    found: dict[str, Any] = {key: kept.pop(name) for key, name in _WORDS.items() if name in kept}
    colors = {name: key for key, name in _COLORS.items()}
    if kept.get(_COLOR) in colors:
        found["color"] = colors[kept.pop(_COLOR)]
    for key, (name, kind) in _LISTS.items():
        if (values := _parsed(kept.get(name, ""), kind)) is not None:
            found[key] = values
            del kept[name]
    return found, kept


def _parsed(text: str, kind: type) -> tuple | None:
    """A list in JSON, or a dict by number in Python, as Ultralytics writes it; None for anything else."""
    try:
        values = ast.literal_eval(text) if len(text) < _LONGEST else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if isinstance(values, dict) and list(values) == list(range(len(values))):
        values = list(values.values())
    if (
        not isinstance(values, list)
        or not values
        or not {type(value) for value in values} <= {kind, _ALSO[kind]}
    ):
        return None
    return tuple(map(kind, values))


def _listed(values: tuple | None) -> str | None:
    return None if values is None else json.dumps(values, ensure_ascii=False)


def _bodies(data, start: int, stop: int, number: int) -> Iterator[tuple[int, int]]:
    """Where each field `number` of a message has its content."""
    return ((body, end) for found, _, body, end in fields(data, start, stop) if found == number)
