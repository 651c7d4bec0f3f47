"""Files whose metadata was damaged, or made to harm."""

import dataclasses
import random
import struct
import tracemalloc

import pytest
from ai_edge_litert import schema_py_generated as schema

from carrying import FULL, PACKED, THEIRS, elsewhere, made
from edgecls import metadata
from edgecls.errors import BadFile, EdgeclsError
from edgecls.exporters import flatbuffer as files
from edgecls.metadata import Metadata, flatbuffer
from edgecls.metadata.schema import ENTRY, IDENTIFIER


def mutants(data: bytes, count: int):
    """Cut short, with bytes changed, or with numbers put in that lead far away."""
    rng = random.Random(0)
    for _ in range(count):
        kind, out = rng.randrange(4), bytearray(data)
        if kind == 0:
            yield bytes(out[: rng.randrange(len(out))])
            continue
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(len(out))
            if kind == 1:
                out[at] = rng.randrange(256)
            elif kind == 2:
                value = rng.choice(
                    (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(out), rng.randrange(len(out)))
                )
                out[at : at + 4] = struct.pack("<I", value)
            else:
                stop = rng.randrange(at, min(len(out), at + 64))
                del out[at:stop]
        yield bytes(out)


@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("format", "outside"), [("tflite", False), ("tflite", True), ("onnx", False)])
def test_damaged_files_raise_nothing_but_our_errors(tmp_path, format, outside, count):
    path = made(tmp_path / f"net.{format}")
    if format == "tflite":
        elsewhere(path, THEIRS, packed=PACKED, outside=outside)
    metadata.write(path, dataclasses.replace(metadata.read(path) or Metadata(), **fields_of(FULL)))
    refused = 0
    tracemalloc.start()
    for number, mutant in enumerate(mutants(path.read_bytes(), count)):
        path.write_bytes(mutant)
        try:
            known = metadata.read(path)
            metadata.outputs(path)
            metadata.write(
                path, dataclasses.replace(known or Metadata(), name=f"mutant {number}", missing=())
            )
            assert metadata.read(path).name == f"mutant {number}"
        except EdgeclsError as error:
            assert "\n" not in str(error) and path.read_bytes() == mutant
            refused += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count / 5 < refused < count
    assert peak < 20_000_000
    assert list(tmp_path.iterdir()) == [path]


def fields_of(said):
    return {
        field.name: getattr(said, field.name)
        for field in dataclasses.fields(said)
        if field.name not in ("kept", "missing")
    }


def test_metadata_in_a_buffer_far_beyond_the_last_is_refused(tmp_path):
    path = made(tmp_path / "net.tflite")
    model = files.unpack(path.read_bytes())
    model.metadata = [schema.MetadataT()]
    model.metadata[0].name, model.metadata[0].buffer = ENTRY, 10**9
    files.write(model, path)
    for call in (metadata.read, lambda path: metadata.write(path, FULL)):
        with pytest.raises(BadFile, match="its metadata is in buffer 1000000000 of 3"):
            call(path)


def test_tables_that_share_what_is_in_them_are_not_read_for_ever():
    writer = flatbuffer.Writer(b"\0\0\0\0" + IDENTIFIER)
    root, places = writer.record([None, None, None, bytes(4)])
    writer.link(0, root)
    count = 10_000
    lists = writer.vector(bytes(4 * count), count)
    writer.link(places[3], lists)
    inner, (name,) = writer.record([bytes(4)])
    writer.link(name, writer.vector(b"x" * 100_000, 100_000))
    for k in range(count):
        writer.link(lists + 4 + 4 * k, inner)
    with pytest.raises(ValueError, match="what it holds is larger than itself"):
        flatbuffer.read(bytes(writer.out), "ModelMetadata")
