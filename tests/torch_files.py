"""Files of torch.save, written opcode by opcode, and pickles that do worse than that."""

from __future__ import annotations

import pickle
import pickletools
import struct
import zipfile
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Name:
    """What a pickle imports."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """What a pickle calls."""

    function: Any
    arguments: tuple


@dataclass(frozen=True)
class Persistent:
    """What a pickle leaves to its reader."""

    id: tuple


STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
}


def opcodes(value) -> bytes:
    match value:
        case Name(module, name):
            return f"c{module}\n{name}\n".encode()
        case Call(function, arguments):
            return opcodes(function) + opcodes(arguments) + b"R"
        case Persistent(id):
            return opcodes(id) + b"Q"
        case dict():
            return b"}(" + b"".join(opcodes(key) + opcodes(item) for key, item in value.items()) + b"u"
        case list():
            return b"](" + b"".join(map(opcodes, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(opcodes, value)) + b"t"
    return pickletools.optimize(pickle.dumps(value, 2))[2:-1]  # plain


def pickled(value) -> bytes:
    return b"\x80\x02" + opcodes(value) + b"."


def storage(key, kind, count) -> Persistent:
    return Persistent(("storage", Name("torch", kind), key, "cpu", count))


def view(stored, shape, strides, offset=0) -> Call:
    """A tensor of torch: `stored` is a `storage`; strides and offset count elements."""
    hooks = Call(Name("collections", "OrderedDict"), ())
    arguments = (stored, offset, tuple(shape), tuple(strides), False, hooks)
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), arguments)


def tensor(key, array) -> Call:
    """All of a storage, in the order of its elements."""
    strides = [stride // array.itemsize for stride in array.strides]
    return view(storage(key, STORAGES[array.dtype.name], array.size), array.shape, strides)


def write_zip(
    path, content: bytes, storages=None, *, order=b"little", compression=zipfile.ZIP_STORED, more=()
):
    """content: of data.pkl; storages: key -> bytes."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", order)
        for key, stored in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", stored)
        for name in more:
            archive.writestr(name, "")
        archive.writestr("archive/version", "3\n")


def write_stream(path, content: bytes, storages=None):
    """content: of the pickle with the value; storages: key -> (count, bytes)."""
    machine = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    parts = [
        pickled(0x1950A86A20F9469CFC6C),
        pickled(1001),
        pickled(machine),
        content,
        pickled([*(storages or {})]),
    ]
    for count, stored in (storages or {}).values():
        parts += [struct.pack("<q", count), stored]
    path.write_bytes(b"".join(parts))


def save(path, arrays, *, stream=False):
    """A state dict, each array in a storage of its own."""
    content = pickled(
        {name: tensor(str(number), array) for number, (name, array) in enumerate(arrays.items())}
    )
    if stream:
        write_stream(path, content, {str(n): (a.size, a.tobytes()) for n, a in enumerate(arrays.values())})
    else:
        write_zip(path, content, {str(n): a.tobytes() for n, a in enumerate(arrays.values())})
    return path
