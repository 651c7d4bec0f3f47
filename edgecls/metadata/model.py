"""A .tflite file as flatbuffers see it: where tables and weights lie, and what can be put in front."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from typing import Any, Literal

from edgecls.metadata import flatbuffer
from edgecls.metadata.flatbuffer import Writer, fields, follow, tables, u32, vector
from edgecls.metadata.schema import ENTRY, IDENTIFIER

# Numbers of fields in TFLite's schema.fbs.
_VERSION, _SUBGRAPHS, _BUFFERS, _METADATA = 0, 2, 4, 6
_TENSORS, _OPERATORS = 0, 3
_ENDS = {"input": 1, "output": 2}
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_NAME = 0, 1, 3
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = 0, 1, 2
_ENTRY_NAME, _ENTRY_BUFFER = 0, 1
_LARGE_CUSTOM_OPTIONS = 9

#: Of the types in schema.fbs, those that pictures have.
_TYPES = {0: "float32", 1: "float16", 3: "uint8", 7: "int16", 9: "int8"}
#: A flatbuffer behind another begins at a multiple: weights in it stay aligned.
_STEP = 64
#: Longest metadata, bytes.
_LONGEST = 50_000_000
#: A place behind anything that is put in front, bytes.
_FAR = 2**30


@dataclass(frozen=True)
class End:
    """An input or output of the main graph. dtype: numpy's name, or "other"."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Model:
    """The flatbuffer that begins at byte `base` of a file; of the weights in it only the position is read."""

    def __init__(self, data: mmap.mmap, base: int = 0):
        if data[base + 4 : base + 8] != b"TFL3":
            raise ValueError(f"its bytes 4 to 7 should be b'TFL3', not {data[4:8]!r}")
        self.data, self.base = data, base
        self.places = fields(data, follow(data, base))
        self.buffers, self.entries = self._tables(_BUFFERS), self._tables(_METADATA)
        self.entry = self.buffer = None  # numbers of the metadata's
        for number, places in enumerate(fields(data, entry) for entry in self.entries):
            if flatbuffer.text(data, places[_ENTRY_NAME]) == ENTRY:
                self.entry = number
                self.buffer = u32(data, at) if (at := _at(places, _ENTRY_BUFFER)) else 0
                if self.buffer >= len(self.buffers):
                    raise ValueError(f"its metadata is in buffer {self.buffer} of {len(self.buffers)}")

    def _tables(self, number: int) -> list[int]:
        place = _at(self.places, number)
        return [] if place is None else tables(self.data, place)

    def metadata(self, *, whole: bool = False) -> dict[str, Any] | None:
        """See `flatbuffer.read`; None where there is none."""
        if self.entry is None:
            return None
        start, stop = self._extent(self.buffers[self.buffer])
        if stop - start > _LONGEST:
            raise ValueError(f"its metadata has {stop - start:,} bytes")
        content = self.data[start:stop]
        if content[4:8] != IDENTIFIER:
            raise ValueError(f"its metadata should have {IDENTIFIER!r} in bytes 4 to 7, not {content[4:8]!r}")
        return flatbuffer.read(content, "ModelMetadata", whole=whole)

    def ends(self, kind: Literal["input", "output"]) -> list[End]:
        """In the order of the main graph."""
        data = self.data
        graph = fields(data, self._tables(_SUBGRAPHS)[0])
        found = []
        tensors = tables(data, graph[_TENSORS])
        start, count = vector(data, graph[_ENDS[kind]], 4)
        for index in struct.unpack_from(f"<{count}I", data, start):
            places = fields(data, tensors[index])
            name = flatbuffer.text(data, at) if (at := _at(places, _TENSOR_NAME)) else ""
            shape = vector(data, at, 4) if (at := _at(places, _TENSOR_SHAPE)) else (0, 0)
            number = data[at] if (at := _at(places, _TENSOR_TYPE)) else 0
            sizes = struct.unpack_from(f"<{shape[1]}i", data, shape[0])
            found.append(End(name, sizes, _TYPES.get(number, "other")))
        return found

    def original(self) -> Model:
        """The flatbuffer as it was before `write` put one in front of it."""
        if self.entry is None:
            return self
        _, stop = self._extent(self.buffers[self.buffer])
        base = stop + 1 + -(stop + 1) % _STEP  # behind the metadata and the NUL after it
        if self.data[base + 4 : base + 8] != b"TFL3":
            return self
        inner = Model(self.data, base)
        same = [follow(self.data, one.places[_SUBGRAPHS]) for one in (self, inner)]
        return inner if same[0] == same[1] else self

    def check_end(self, end: int) -> None:
        """Raise ValueError where weights do not lie before `end`, or cannot be moved."""
        if any(self._extent(buffer)[1] > end for buffer in self.buffers):
            raise ValueError(f"weights lie behind byte {end}, where the model should end")
        if not any(self._outside(buffer) for buffer in self.buffers):
            return
        for graph in self._tables(_SUBGRAPHS):
            for operator in tables(self.data, fields(self.data, graph)[_OPERATORS]):
                if _at(fields(self.data, operator), _LARGE_CUSTOM_OPTIONS):
                    raise ValueError("custom ops keep their options behind the model, which cannot be moved")

    def front(self, metadata: bytes) -> bytes:
        """What stands in front of this flatbuffer when it has `metadata`."""
        return self._front(metadata, len(self._front(metadata, _FAR)))

    def _front(self, metadata: bytes, shift: int) -> bytes:
        """The same, where this flatbuffer begins at byte `shift` then; of as many bytes for every one."""
        values = [place and self.data[place : place + 4] for place in self.places]
        values += [None] * (_METADATA + 1 - len(values))
        values[_BUFFERS] = values[_METADATA] = bytes(4)
        writer = Writer(b"\0\0\0\0TFL3")
        root, places = writer.record(values)
        writer.link(0, root)
        moved = {_VERSION, _BUFFERS, _METADATA}
        for number, place in enumerate(self.places):
            if place and number not in moved:
                writer.link(places[number], follow(self.data, place) - self.base + shift)

        def put(number, old, new):
            """A list of tables of this flatbuffer, but for the `new` ones; where its first item is."""
            count = max(len(old), *(k + 1 for k in new))
            start = writer.vector(bytes(4 * count), count)
            writer.link(places[number], start)
            for k in range(count):
                if k not in new:
                    writer.link(start + 4 + 4 * k, old[k] - self.base + shift)
            return start + 4

        outside = {k: found for k, buffer in enumerate(self.buffers) if (found := self._outside(buffer))}
        buffer = len(self.buffers) if self.buffer is None else self.buffer
        entry = len(self.entries) if self.entry is None else self.entry
        buffers = put(_BUFFERS, self.buffers, {buffer, *outside})
        entries = put(_METADATA, self.entries, {entry})
        table, (name, _) = writer.record([bytes(4), struct.pack("<I", buffer)])
        writer.link(entries + 4 * entry, table)
        writer.link(name, writer.vector(ENTRY.encode(), len(ENTRY)))
        for k, (offset, size) in outside.items():
            table, _ = writer.record([None, struct.pack("<Q", offset + shift), struct.pack("<Q", size)])
            writer.link(buffers + 4 * k, table)
        table, (content,) = writer.record([bytes(4)])
        writer.link(buffers + 4 * buffer, table)
        writer.link(content, writer.vector(metadata, len(metadata), flatbuffer.ALIGNMENT))
        return bytes(writer.out) + bytes(-len(writer.out) % _STEP)

    def _outside(self, buffer: int) -> tuple[int, int] | None:
        """(offset from `base`, size) of a buffer whose bytes are behind the flatbuffer."""
        places = fields(self.data, buffer)
        offset, size = (
            struct.unpack_from("<Q", self.data, at)[0] if (at := _at(places, number)) else 0
            for number in (_BUFFER_OFFSET, _BUFFER_SIZE)
        )
        return (offset, size) if offset > 1 else None

    def _extent(self, buffer: int) -> tuple[int, int]:
        """First and last position, counted in the file, of a buffer's bytes."""
        if found := self._outside(buffer):
            start, size = found[0] + self.base, found[1]
            if start + size > len(self.data):
                raise ValueError(f"{size} bytes from byte {start} on do not fit in {len(self.data)}")
        else:
            at = _at(fields(self.data, buffer), _BUFFER_DATA)
            start, size = vector(self.data, at, 1) if at else (0, 0)
        return start, start + size


def _at(places: list[int | None], number: int) -> int | None:
    return places[number] if number < len(places) else None
