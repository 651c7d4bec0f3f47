"""An .onnx file without its weights: to parse protobuf with them is to copy every byte, twice."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator

from onnx import StringStringEntryProto, TensorProto

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
        return _delimited(MODEL_GRAPH, _rewrite(data, start, stop, GRAPH_INITIALIZER, initializer))

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
        return _delimited(GRAPH_INITIALIZER, tensor)

    return _rewrite(data, 0, len(data), MODEL_GRAPH, graph)


def _rewrite(
    data: mmap.mmap, start: int, stop: int, field: int, replace: Callable[[int, int], bytes | None]
) -> bytes:
    """The message in data[start:stop], each of its `field`s replaced by `replace(start, stop of its body)`,
    which is whole fields, or left as it is for None."""
    out, kept = bytearray(), start
    for number, begin, body, end in _fields(data, start, stop):
        if number == field and (new := replace(body, end)) is not None:
            out += data[kept:begin] + new
            kept = end
    return bytes(out + data[kept:stop])


def _fields(data: mmap.mmap, at: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, start, start of the body, stop) of each length-delimited field of a message."""
    while at < stop:
        begin = at
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _, at = _varint(data, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        elif wire == 2:
            size, body = _varint(data, at)
            at = body + size
            if at <= stop:
                yield number, begin, body, at
        else:
            raise ValueError(f"no protobuf field begins at byte {begin}")
        if at > stop:
            raise ValueError(f"the field at byte {begin} should end at byte {at} of {stop}")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        if at >= len(data):
            raise ValueError(f"a number should go on at byte {at} of {len(data)}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError(f"a number ends nowhere before byte {at}")


def _delimited(number: int, body: bytes) -> bytes:
    """`body` as field `number`, with its tag and length."""
    out, length = bytearray([number << 3 | 2]), len(body)
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(out) + bytes([length]) + body
