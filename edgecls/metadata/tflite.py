"""TFLite metadata: a flatbuffer inside the model's, and a zip of files behind it.

It is written without unpacking the model. In front of the flatbuffer, which stays as it is, stands a new
one that has the root of the model, its list of buffers and its list of metadata. Its offsets lead into
the old one, as offsets only ever lead forward.
"""

from __future__ import annotations

import math
import mmap
import struct
import zipfile
import zlib
from typing import IO, Any

from edgecls.metadata import Metadata, flatbuffer
from edgecls.metadata.flatbuffer import Writer, fields, follow, tables, u32, vector
from edgecls.metadata.schema import COLOR_SPACES, ENTRY, IDENTIFIER, MIN_PARSER_VERSION, TENSOR_AXIS_LABELS

LABELS = "labels.txt"

# Numbers of fields in TFLite's schema.fbs.
_VERSION, _SUBGRAPHS, _BUFFERS, _METADATA = 0, 2, 4, 6
_SUBGRAPH_TENSORS, _SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS, _SUBGRAPH_OPERATORS = 0, 1, 2, 3
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_NAME = 0, 1, 3
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = 0, 1, 2
_ENTRY_NAME, _ENTRY_BUFFER = 0, 1
_LARGE_CUSTOM_OPTIONS = 9

#: Smallest and largest values of types that pictures have as they come, by their number.
_INTEGERS = {3: (0.0, 255.0), 9: (-128.0, 127.0)}
_FLOAT32 = 0
#: The flatbuffer that was there begins at a multiple: weights in it stay aligned.
_STEP = 64
#: A place behind anything that is put in front, bytes.
_FAR = 2**30
#: Longest file of labels, bytes; what is in a zip may be so many times larger than the file.
_LONGEST, _EXPANSION = 10_000_000, 100
#: When files in the zip were written: the same every time.
_WRITTEN = (1980, 1, 1, 0, 0, 0)


def read(data: mmap.mmap) -> Metadata | None:
    """See `metadata.read`. Raises ValueError, struct.error for what is damaged."""
    model = _Model(data)
    tree = model.metadata()
    if tree is None:
        return None
    files = _Zip(data)
    image, scores = _tensors(tree, "input")[:1], _tensors(tree, "output")[:1]
    normalization, colors = {}, None
    for tensor in image:
        normalization = _normalization(tensor) or {}
        kind, properties = tensor.get("content", {}).get("content_properties", ("", {}))
        if kind == "ImageProperties":
            colors = {number: color for color, number in COLOR_SPACES.items()}.get(properties.get("color_space"))
    listed = next((file for tensor in scores if (file := _labels_file(tensor))), None)
    labels = listed and _lines(files.content(listed["name"], _LONGEST))
    graph = tree.get("subgraph_metadata", [{}])[:1]
    custom = [one.get("name", "") for sub in graph for one in sub.get("custom_metadata", [])]
    return Metadata(
        name=tree.get("name"),
        description=tree.get("description"),
        version=tree.get("version"),
        author=tree.get("author"),
        licence=tree.get("license"),
        input=image[0].get("description") if image else None,
        mean=_numbers(normalization.get("mean")),
        std=_numbers(normalization.get("std")),
        color=colors,
        labels=labels,
        kept=(*(name for name in files.names if not listed or name != listed["name"]), *custom),
    )


def outputs(data: mmap.mmap) -> int | None:
    """See `metadata.outputs`."""
    ends = _Model(data).ends(_SUBGRAPH_OUTPUTS)
    sizes = ends[0][1] if len(ends) == 1 else ()
    count = math.prod(sizes[1:]) if len(sizes) > 1 else sum(sizes)
    return count if count > 0 else None


def write(data: mmap.mmap, metadata: Metadata, file: IO[bytes]) -> None:
    """See `metadata.write`: the whole new file goes into the empty `file`."""
    model, files = _Model(data), _Zip(data)
    tree = model.metadata(whole=True) or {}
    _change(tree, metadata, model)
    listed = [found for tensor in _tensors(tree, "output")[:1] if (found := _labels_file(tensor))]
    own = {found["name"]: "\n".join(metadata.labels).encode() for found in listed}
    original = model.original()
    original.check_end(files.start)
    content = flatbuffer.write("ModelMetadata", tree, IDENTIFIER)
    file.write(original.front(content))
    with memoryview(data) as view, view[original.base : files.start] as kept:
        file.write(kept)
    files.copy(file, own)


class _Model:
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

    def _tables(self, number: int) -> list[int]:
        place = _at(self.places, number)
        return [] if place is None else tables(self.data, place)

    def metadata(self, *, whole: bool = False) -> dict[str, Any] | None:
        """See `flatbuffer.read`; None where there is none."""
        if self.entry is None:
            return None
        start, stop = self._extent(self.buffers[self.buffer])
        content = bytes(self.data[start:stop])
        if content[4:8] != IDENTIFIER:
            raise ValueError(f"its metadata should have {IDENTIFIER!r} in bytes 4 to 7, not {content[4:8]!r}")
        return flatbuffer.read(content, "ModelMetadata", whole=whole)

    def ends(self, kind: int) -> list[tuple[str, tuple[int, ...], int]]:
        """(name, shape, type) of each input or output of the main graph."""
        data = self.data
        graph = fields(data, self._tables(_SUBGRAPHS)[0])
        found = []
        tensors = tables(data, graph[_SUBGRAPH_TENSORS])
        start, count = vector(data, graph[kind], 4)
        for index in struct.unpack_from(f"<{count}I", data, start):
            places = fields(data, tensors[index])
            name = flatbuffer.text(data, at) if (at := _at(places, _TENSOR_NAME)) else ""
            shape = vector(data, at, 4) if (at := _at(places, _TENSOR_SHAPE)) else (0, 0)
            number = data[at] if (at := _at(places, _TENSOR_TYPE)) else 0
            found.append((name, struct.unpack_from(f"<{shape[1]}i", data, shape[0]), number))
        return found

    def original(self) -> _Model:
        """The flatbuffer as it was before `write` put one in front of it."""
        if self.entry is None:
            return self
        _, stop = self._extent(self.buffers[self.buffer])
        base = stop + 1 + -(stop + 1) % _STEP  # behind the metadata and the NUL after it
        if self.data[base + 4 : base + 8] != b"TFL3":
            return self
        inner = _Model(self.data, base)
        same = [follow(self.data, one.places[_SUBGRAPHS]) for one in (self, inner)]
        return inner if same[0] == same[1] else self

    def check_end(self, end: int) -> None:
        """Raise ValueError where weights do not lie before `end`, or cannot be moved."""
        if any(self._extent(buffer)[1] > end for buffer in self.buffers):
            raise ValueError(f"weights lie behind byte {end}, where the model should end")
        if not any(self._outside(buffer) for buffer in self.buffers):
            return
        for graph in self._tables(_SUBGRAPHS):
            for operator in tables(self.data, fields(self.data, graph)[_SUBGRAPH_OPERATORS]):
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
            """A list of tables that lie in this flatbuffer, but for the `new` ones; where its first item is."""
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


class _Zip:
    """The zip behind a model, from byte `start` on; without files where there is none."""

    def __init__(self, data: mmap.mmap):
        self.data, self.start, self.zip = data, len(data), None
        try:
            found = zipfile.ZipFile(data)
            start = min((info.header_offset for info in found.infolist()), default=len(data))
            if data[start : start + 4] == b"PK\3\4":
                self.zip, self.start = found, start
        except _ZIP_ERRORS:
            pass  # bytes that look like one; files that the metadata lists are missed when they are read
        self.names = self.zip.namelist() if self.zip else []

    def content(self, name: str, longest: int) -> bytes:
        if name not in self.names:
            raise ValueError(f"its metadata lists a file {name!r} that is not there")
        try:
            info = self.zip.getinfo(name)
            if info.file_size > longest:
                raise ValueError(f"its file {name!r} has {info.file_size:,} bytes")
            return self.zip.read(info)
        except _ZIP_ERRORS as error:
            raise ValueError(f"its file {name!r} cannot be read: {error}") from error

    def copy(self, file: IO[bytes], own: dict[str, bytes]) -> None:
        """Write the zip to the end of `file`, with `own` files in place of, or beside, those that are there."""
        kept = [self.zip.getinfo(name) for name in dict.fromkeys(self.names) if name not in own]
        if not kept and not own:
            return
        with zipfile.ZipFile(file, "w") as target:  # positions are counted from the beginning of the file
            for info in kept:
                target.writestr(info, self.content(info.filename, _EXPANSION * len(self.data)))
            for name, content in own.items():
                info = zipfile.ZipInfo(name, _WRITTEN)  # stored: readers on phones take it as it lies there
                info.create_system, info.external_attr = 3, 0o644 << 16
                target.writestr(info, content)


_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, ArithmeticError, struct.error)


def _tensors(tree: dict[str, Any], end: str) -> list[dict[str, Any]]:
    return [tensor for sub in tree.get("subgraph_metadata", [])[:1] for tensor in sub.get(f"{end}_tensor_metadata", [])]


def _normalization(tensor: dict[str, Any]) -> dict[str, Any] | None:
    kinds = (unit.get("options", ("", None)) for unit in tensor.get("process_units", []))
    return next((options for kind, options in kinds if kind == "NormalizationOptions"), None)


def _labels_file(tensor: dict[str, Any]) -> dict[str, Any] | None:
    """The first counts; others are the same labels in other languages."""
    files = tensor.get("associated_files", [])
    return next((file for file in files if file.get("type") == TENSOR_AXIS_LABELS and file.get("name")), None)


def _lines(content: bytes) -> tuple[str, ...]:
    return tuple(line.rstrip("\r") for line in content.decode("utf-8-sig").rstrip().split("\n"))


def _numbers(values: list[float] | None) -> tuple[float, ...] | None:
    """float32 as they were written: 123.675, not 123.67500305."""
    return values and tuple(float(f"{value:.7g}") for value in values)


def _change(tree: dict[str, Any], metadata: Metadata, model: _Model) -> None:
    """Bring `metadata` into the tree of a ModelMetadata."""
    for key in ("name", "description", "version", "author"):
        _set(tree, key, getattr(metadata, key))
    _set(tree, "license", metadata.licence)
    tree.setdefault("min_parser_version", MIN_PARSER_VERSION)
    if not tree.get("subgraph_metadata"):
        tree["subgraph_metadata"] = [{}]
    graph = tree["subgraph_metadata"][0]
    for end, kind in (("input", _SUBGRAPH_INPUTS), ("output", _SUBGRAPH_OUTPUTS)):  # readers want one for each, with names
        tensors = graph.setdefault(f"{end}_tensor_metadata", [])
        for number, (name, *_) in enumerate(model.ends(kind)):
            if number == len(tensors):
                tensors.append({})
            tensors[number].setdefault("name", name)
    _change_image(graph["input_tensor_metadata"][0], metadata, *model.ends(_SUBGRAPH_INPUTS)[0][1:])
    _change_scores(graph["output_tensor_metadata"][0], metadata.labels)


def _change_image(tensor: dict[str, Any], metadata: Metadata, shape: tuple[int, ...], number: int) -> None:
    _set(tensor, "description", metadata.input)
    known = _normalization(tensor) or {}
    if (metadata.mean, metadata.std) != (_numbers(known.get("mean")), _numbers(known.get("std"))):
        units = [one for one in tensor.get("process_units", []) if one.get("options", ("",))[0] != "NormalizationOptions"]
        if metadata.mean:
            options = {"mean": list(metadata.mean), "std": list(metadata.std)}
            units.append({"options": ("NormalizationOptions", options)})
            scaled = list(zip(metadata.mean, metadata.std, strict=True))
            low, high = _INTEGERS.get(number, (None, None))
            tensor["stats"] = {
                "min": [(0 - mean) / std for mean, std in scaled] if number == _FLOAT32 else [low],
                "max": [(255 - mean) / std for mean, std in scaled] if number == _FLOAT32 else [high],
            }
        _set(tensor, "process_units", units or None)
    content = tensor.get("content", {})
    kind, properties = content.get("content_properties", ("ImageProperties", {}))
    if kind == "ImageProperties" and (metadata.color or properties):
        _set(properties, "color_space", COLOR_SPACES.get(metadata.color))
        if len(shape) == 4 and shape[1] == shape[2] > 0:
            properties.setdefault("default_size", {"width": shape[2], "height": shape[1]})
        tensor["content"] = content | {"content_properties": (kind, properties)}


def _change_scores(tensor: dict[str, Any], labels: tuple[str, ...] | None) -> None:
    tensor.setdefault("content", {}).setdefault("content_properties", ("FeatureProperties", {}))
    files = tensor.get("associated_files", [])
    if labels is None:
        files = [file for file in files if file.get("type") != TENSOR_AXIS_LABELS]
    elif not _labels_file(tensor):
        entry = {"name": LABELS, "description": "Labels of the scores, one a line.", "type": TENSOR_AXIS_LABELS}
        files = [entry, *files]
    _set(tensor, "associated_files", files or None)


def _set(table: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
