"""Flatbuffers, as far as metadata needs them: every position that a file claims is checked before it is used.

A table is read into a dict of the fields that it has, by their names in `schema`; the same dict is
written. A field of a union is (name of the table, its dict).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from edgecls.metadata.schema import SCALARS, TABLES, UNIONS

#: Bytes that vectors of bytes begin at a multiple of: the schemas force it.
ALIGNMENT = 16
#: Longest list of tables; a net of a thousand layers has some thousand tensors.
_MOST = 1_000_000


def u32(data: bytes | memoryview, at: int) -> int:
    return struct.unpack_from("<I", data, at)[0]


def follow(data, at: int) -> int:
    """Where the offset at `at` leads. Raises ValueError for a place beyond the end."""
    target = at + u32(data, at)
    if not 0 < target <= len(data) - 4:
        raise ValueError(f"byte {at} leads to byte {target} of {len(data)}")
    return target


def fields(data, table: int) -> list[int | None]:
    """Where each field of the table at `table` lies, by its number; None for one that is left out."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if not 0 <= vtable <= len(data) - 4:
        raise ValueError(f"the table at byte {table} is described at byte {vtable} of {len(data)}")
    size, extent = struct.unpack_from("<HH", data, vtable)
    if size < 4 or size % 2 or table + extent > len(data):
        raise ValueError(f"the table at byte {table} has {extent} bytes and {size} that describe it")
    offsets = struct.unpack_from(f"<{size // 2 - 2}H", data, vtable + 4)
    if max(offsets, default=0) >= max(extent, 1):
        raise ValueError(f"the table at byte {table} has a field outside of it")
    return [table + offset if offset else None for offset in offsets]


def vector(data, at: int, itemsize: int) -> tuple[int, int]:
    """(first byte, number of items) of the vector that the offset at `at` leads to."""
    start = follow(data, at)
    count = u32(data, start)
    if start + 4 + count * itemsize > len(data):
        raise ValueError(f"{count} items from byte {start} on do not fit in {len(data)} bytes")
    return start + 4, count


def tables(data, at: int) -> list[int]:
    """Where the tables of a vector of tables lie."""
    start, count = vector(data, at, 4)
    if count > _MOST:
        raise ValueError(f"a list of {count:,} tables")
    return [follow(data, start + 4 * k) for k in range(count)]


def blob(data, at: int) -> bytes:
    start, count = vector(data, at, 1)
    return bytes(data[start : start + count])


def text(data, at: int) -> str:
    return blob(data, at).decode("utf-8")


def read(data: bytes | memoryview, kind: str, *, whole: bool = False) -> dict[str, Any]:
    """The root table of `data`, of the schema's `kind`.

    whole: raise ValueError for fields that the schema here does not know, since they would be lost if
    the table were written again. Raises ValueError, struct.error for what is damaged.
    """
    return _Reader(data, whole).table(follow(data, 0), kind)


class _Reader:
    """Reads not much more bytes than there are: tables that share what is in them could be endless."""

    def __init__(self, data, whole):
        self.data, self.whole, self.left = data, whole, 4 * len(data)

    def table(self, at: int, kind: str) -> dict[str, Any]:
        self._spend(4)
        places = fields(self.data, at)
        known = TABLES[kind]
        if self.whole and any(place is not None for place in places[_slots(known) :]):
            raise ValueError(f"its {kind} has fields that this edgecls does not know")
        found, slot = {}, 0
        for name, form in known.items():
            place = places[slot] if slot < len(places) else None
            if form in UNIONS:
                value = places[slot + 1] if slot + 1 < len(places) else None
                number = self.data[place] if place is not None else 0
                slot += 1
                if number and value is not None:
                    if number > len(UNIONS[form]):
                        if self.whole:
                            raise ValueError(f"its {kind} has a {name} that this edgecls does not know")
                        place = None
                    else:
                        table = UNIONS[form][number - 1]
                        found[name] = (table, self.table(follow(self.data, value), table))
            elif place is not None:
                found[name] = self._value(place, form)
            slot += 1
        return found

    def _value(self, at: int, form: str) -> Any:
        data = self.data
        if form in SCALARS:
            return struct.unpack_from(f"<{SCALARS[form]}", data, at)[0]
        if form == "string":
            self._spend(vector(data, at, 1)[1])
            return text(data, at)
        if form == "[ubyte]":
            self._spend(vector(data, at, 1)[1])
            return blob(data, at)
        if not form.startswith("["):
            return self.table(follow(data, at), form)
        inner = form.strip("[]")
        start, count = vector(data, at, 4)
        self._spend(4 * count)
        if inner in SCALARS:
            return list(struct.unpack_from(f"<{count}{SCALARS[inner]}", data, start))
        return [self._value(start + 4 * k, inner) for k in range(count)]

    def _spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ValueError("what it holds is larger than itself")


def _slots(known: Mapping[str, str]) -> int:
    """A union takes two: which table it is, and the table."""
    return sum(1 + (form in UNIONS) for form in known.values())


def write(kind: str, value: Mapping[str, Any], identifier: bytes) -> bytes:
    """A flatbuffer whose root is `value`, with `identifier` in bytes 4 to 7; one value, the same bytes."""
    writer = Writer(b"\0\0\0\0" + identifier)
    writer.link(0, writer.table(kind, value))
    return bytes(writer.out)


class Writer:
    """Appends to `out`. What a table refers to stands behind it, as offsets are never negative."""

    def __init__(self, start: bytes):
        self.out = bytearray(start)

    def link(self, at: int, target: int) -> None:
        """Let the offset at `at` lead to `target`."""
        struct.pack_into("<I", self.out, at, target - at)

    def record(self, values: Sequence[bytes | None]) -> tuple[int, list[int]]:
        """A table of fields that all have 4 bytes, or all 8: (where it lies, where each field does)."""
        present = [value for value in values if value is not None]
        width = len(present[0]) if present else 4
        offsets, behind = [], width
        for value in values:
            offsets.append(behind if value is not None else 0)
            behind += width * (value is not None)
        vtable = struct.pack(f"<HH{len(values)}H", 4 + 2 * len(values), behind, *offsets)
        self.out += bytes(-(len(self.out) + len(vtable)) % width) + vtable
        table = len(self.out)
        self.out += struct.pack("<i", len(vtable)).ljust(width, b"\0") + b"".join(present)
        return table, [table + offset for offset in offsets]

    def vector(self, data: bytes, count: int, alignment: int = 4) -> int:
        """`count` items that are `data`; a NUL stands behind, as strings want it."""
        self.out += bytes(-(len(self.out) + 4) % alignment)
        start = len(self.out)
        self.out += struct.pack("<I", count) + data + bytes(4 - len(data) % 4)
        return start

    def table(self, kind: str, value: Mapping[str, Any]) -> int:
        slots: list[bytes | None] = []
        behind = []
        for name, form in TABLES[kind].items():
            given = value.get(name)
            if form in UNIONS:
                table, given = given or ("", None)
                slots.append(None if given is None else struct.pack("<I", UNIONS[form].index(table) + 1))
                form = table
            if given is None:
                slots.append(None)
            elif form in SCALARS:
                slots.append(struct.pack(f"<{SCALARS[form]}", given).ljust(4, b"\0"))
            else:
                behind.append((len(slots), form, given))
                slots.append(bytes(4))
        start, places = self.record(slots)
        for slot, form, given in behind:
            self.link(places[slot], self._put(form, given))
        return start

    def _put(self, form: str, value: Any) -> int:
        if form == "string":
            encoded = value.encode("utf-8")
            return self.vector(encoded, len(encoded))
        if form == "[ubyte]":
            return self.vector(value, len(value), ALIGNMENT)
        if not form.startswith("["):
            return self.table(form, value)
        inner = form.strip("[]")
        if inner in SCALARS:
            return self.vector(struct.pack(f"<{len(value)}{SCALARS[inner]}", *value), len(value))
        start = self.vector(bytes(4 * len(value)), len(value))
        for number, item in enumerate(value, start=1):
            self.link(start + 4 * number, self._put(inner, item))
        return start
