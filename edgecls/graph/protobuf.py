"""Protobuf messages as bytes: where their fields lie, and fields to put in."""

from __future__ import annotations

import mmap
from collections.abc import Iterator


def fields(data: mmap.mmap | bytes, at: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, start, start of the body, stop) of each length-delimited field of a message.

    Raises ValueError for what is not protobuf.
    """
    while at < stop:
        begin = at
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _, at = varint(data, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        elif wire == 2:
            size, body = varint(data, at)
            at = body + size
            if at <= stop:
                yield number, begin, body, at
        else:
            raise ValueError(f"no protobuf field begins at byte {begin}")
        if at > stop:
            raise ValueError(f"the field at byte {begin} should end at byte {at} of {stop}")


def varint(data: mmap.mmap | bytes, at: int) -> tuple[int, int]:
    """(the number at byte `at`, where it ends)"""
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


def delimited(number: int, body: bytes) -> bytes:
    """`body` as field `number`, with its tag and length."""
    out, length = bytearray([number << 3 | 2]), len(body)
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(out) + bytes([length]) + body
