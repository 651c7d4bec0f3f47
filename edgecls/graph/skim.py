"""An .onnx file without its weights: to parse protobuf with them is to copy every byte, twice."""

from __future__ import annotations

import mmap
from collections.abc import Callable

from onnx import StringStringEntryProto, TensorProto

from edgecls.graph.protobuf import delimited, fields

# Field numbers of onnx.proto.
MODEL_GRAPH = 7
GRAPH_INITIALIZER = 5
TENSOR_RAW_DATA = 9

#: Initializers of more bytes stay in the file; the shapes and axes that inference reads are smaller.
LARGE = 1024


def skim(data: mmap.mmap, name: str) -> bytes:
    """The serialized ModelProto in `data` with the bytes of large initializers taken out.

    What is taken out becomes external data (ONNX's own record of location, offset and length) in
    the file `name`, the one that `data` maps. Raises ValueError for what is not protobuf.
    """

    def graph(start: int, stop: int) -> bytes:
        return delimited(MODEL_GRAPH, _rewrite(data, start, stop, GRAPH_INITIALIZER, initializer))

    def initializer(start: int, stop: int) -> bytes:
        taken = []

        def take(start: int, stop: int) -> bytes | None:
            if stop - start <= LARGE:
                return None
            taken.append({"location": name, "offset": str(start), "length": str(stop - start)})
            return b""

        tensor = _rewrite(data, start, stop, TENSOR_RAW_DATA, take)
        for where in taken:  # behind all other fields: the last data_location counts
            entries = [StringStringEntryProto(key=key, value=value) for key, value in where.items()]
            outside = TensorProto(data_location=TensorProto.EXTERNAL, external_data=entries)
            tensor += outside.SerializeToString()
        return delimited(GRAPH_INITIALIZER, tensor)

    return _rewrite(data, 0, len(data), MODEL_GRAPH, graph)


def _rewrite(
    data: mmap.mmap, start: int, stop: int, field: int, replace: Callable[[int, int], bytes | None]
) -> bytes:
    """The message in data[start:stop], each of its `field`s replaced by `replace(start, stop of its body)`,
    which is whole fields, or left as it is for None."""
    out, kept = bytearray(), start
    for number, begin, body, end in fields(data, start, stop):
        if number == field and (new := replace(body, end)) is not None:
            out += data[kept:begin] + new
            kept = end
    return bytes(out + data[kept:stop])
