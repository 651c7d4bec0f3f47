"""What is written into a .tflite file beside what the converters write."""

import flatbuffers
import numpy as np
import pytest
import tiny
from ai_edge_litert import schema_py_generated as schema

from edgecls import runtimes, verification
from edgecls.exporters import adoption, flatbuffer, tflite
from edgecls.graph import read

PICTURES = np.random.default_rng(0).uniform(-1, 1, (5, 1, 1, 1, 3)).astype(np.float32)


@pytest.fixture
def source(tmp_path):
    """A float file with 5 filters: neither its weights nor its bias are a multiple of 16 bytes."""
    return tiny.save_tflite(tmp_path / "net.tflite", input_shape=(1, 1, 1, 3), filters=5)


def unpacked(path) -> schema.ModelT:
    return flatbuffer.unpack(path.read_bytes())


def starts(data: bytes) -> list[int]:
    """Where in the file the content of each buffer that has one begins."""
    model = schema.Model.GetRootAs(data)
    tables = [model.Buffers(k)._tab for k in range(model.BuffersLength())]
    return [table.Vector(table.Offset(4)) for table in tables if table.Offset(4)]


def logits(path) -> np.ndarray:
    return verification.logits(runtimes.open(path), PICTURES)


def test_every_buffer_lies_on_16_bytes(tmp_path, source):
    target = tmp_path / "written.tflite"
    flatbuffer.write(unpacked(source), target)
    found = starts(target.read_bytes())
    assert len(found) == 2
    assert [start % 16 for start in found] == [0, 0]
    assert any(start % 16 for start in starts(source.read_bytes()))  # flatbuffers' own packing does not
    assert np.array_equal(logits(target), logits(source))


def test_what_was_written_is_what_is_unpacked(tmp_path, source):
    first, second = tmp_path / "first.tflite", tmp_path / "second.tflite"
    flatbuffer.write(unpacked(source), first)
    flatbuffer.write(unpacked(first), second)
    assert first.read_bytes() == second.read_bytes()


def with_weights_behind(path, target):
    """The same file as large models have it: the content of each buffer behind the flatbuffer."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    contents = [None if buffer.data is None else bytes(buffer.data) for buffer in model.buffers]

    def packed(end):
        for buffer, content in zip(model.buffers, contents, strict=True):
            if content:
                buffer.data, buffer.offset, buffer.size = None, end, len(content)
                end += len(content)
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    end = len(packed(1000))
    target.write_bytes(packed(end) + b"".join(content for content in contents if content))


def test_weights_that_lie_behind_are_taken_in(tmp_path, source):
    outside, inside = tmp_path / "outside.tflite", tmp_path / "inside.tflite"
    with_weights_behind(source, outside)
    assert starts(outside.read_bytes()) == []
    model = unpacked(outside)
    assert [(buffer.offset, buffer.size) for buffer in model.buffers] == [(0, 0)] * 3
    flatbuffer.write(model, inside)
    assert [start % 16 for start in starts(inside.read_bytes())] == [0, 0]
    assert np.array_equal(logits(inside), logits(source))


def test_the_signature_names_the_ends(tmp_path, source):
    from ai_edge_litert.interpreter import Interpreter

    model = unpacked(source)
    model.subgraphs[0].tensors[0].name = b"serving_default_x:0"
    flatbuffer.sign(model)
    flatbuffer.sign(model)  # once is enough
    target = tmp_path / "signed.tflite"
    flatbuffer.write(model, target)
    interpreter = Interpreter(str(target))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": ["logits"]}}
    answer = interpreter.get_signature_runner()(image=PICTURES[0])["logits"]
    assert answer.reshape(-1) == pytest.approx(logits(source)[0])


@pytest.fixture
def int8(tmp_path, source):
    """Makes the int8 file with ends of the type `io`."""
    np.save(tmp_path / "pictures.npy", PICTURES)
    adoption.adopt_tflite(str(source), str(tmp_path / "float.tflite"), None, emit=None)

    def make(io):
        target = tmp_path / f"{io}.tflite"
        arguments = str(tmp_path / "float.tflite"), str(target), "int8", str(tmp_path / "pictures.npy"), (-1.0, 1.0), io
        tflite.quantize(*arguments, emit=lambda event: None)
        return target

    return make


def test_uint8_ends_are_int8_ends_plus_128(int8):
    signed, unsigned = runtimes.open(int8("int8")), runtimes.open(int8("uint8"))
    for inner, outer in zip((*signed.inputs, *signed.outputs), (*unsigned.inputs, *unsigned.outputs), strict=True):
        assert (inner.dtype, outer.dtype) == ("int8", "uint8")
        assert (inner.name, inner.shape, inner.scale) == (outer.name, outer.shape, outer.scale)
        assert inner.zero_point + 128 == outer.zero_point
    pixels = np.array([[[[0, 130, 255]]]], np.uint8)
    (wanted,) = runtimes.run(signed, [(pixels.astype(int) - 128).astype(np.int8)])
    (found,) = runtimes.run(unsigned, [pixels])
    assert found.tolist() == (wanted.astype(int) + 128).tolist()


def test_float32_ends_are_what_int8_ends_stand_for(int8):
    signed, outside = runtimes.open(int8("int8")), runtimes.open(int8("float32"))
    for end in (*outside.inputs, *outside.outputs):
        assert (end.dtype, end.scale, end.zero_point) == ("float32", None, None)
    for picture in PICTURES:
        (wanted,) = runtimes.run(signed, [verification.quantized(picture, signed.inputs[0])])
        (found,) = runtimes.run(outside, [picture])
        assert np.array_equal(found, verification.dequantized(wanted, signed.outputs[0]))


@pytest.mark.parametrize(
    ("io", "kinds"),
    [
        ("int8", ["CONV_2D"]),
        ("uint8", ["QUANTIZE", "CONV_2D", "QUANTIZE"]),
        ("float32", ["QUANTIZE", "CONV_2D", "DEQUANTIZE"]),
    ],
)
def test_other_ends_take_one_op_each(int8, io, kinds):
    assert [op.kind for op in read(int8(io)).ops] == kinds


def test_every_filter_has_its_own_scale(int8):
    graph = read(int8("uint8"))
    (conv,) = (op for op in graph.ops if op.kind == "CONV_2D")
    kernel = conv.inputs[1]
    assert kernel.dtype == "int8" and len(kernel.quantization.scale) == 5
    largest = np.abs(np.linspace(-1, 1, 15).reshape(5, 3)).max(axis=1)
    assert kernel.quantization.scale == pytest.approx(largest / 127, rel=1e-3)
