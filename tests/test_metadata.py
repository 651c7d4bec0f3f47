"""What files say of themselves: written, read, changed; and the model in them, which stays as it is."""

import dataclasses
import json
import struct
import zipfile

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from carrying import FORMATS, FULL, PACKED, THEIRS, elsewhere, made
from edgecls import metadata, runtimes
from edgecls.errors import BadFile
from edgecls.exporters import flatbuffer as files
from edgecls.graph import read as read_graph
from edgecls.metadata import Metadata, flatbuffer, phones
from edgecls.metadata.schema import ENTRY, IDENTIFIER
from edgecls.verbs import metadata as verb


@pytest.fixture(params=FORMATS)
def file(request, tmp_path):
    """A model of five outputs that carries nothing."""
    return made(tmp_path / f"net.{request.param}")


def answers(path) -> np.ndarray:
    session = runtimes.open(path)
    inputs = np.random.default_rng(0).uniform(-1, 1, (3, *session.inputs[0].shape)).astype(np.float32)
    return np.stack([runtimes.run(session, [one])[0] for one in inputs])


def test_what_was_written_is_read(file):
    assert metadata.read(file) is None and metadata.outputs(file) == 5
    metadata.write(file, FULL)
    assert metadata.read(file) == FULL


def test_the_model_computes_the_same_bit_for_bit(file):
    before, ops = answers(file), [op.kind for op in read_graph(file).ops]
    metadata.write(file, FULL)
    assert np.array_equal(answers(file), before)
    assert [op.kind for op in read_graph(file).ops] == ops


def test_weights_stay_aligned(tmp_path):
    path = made(tmp_path / "net.tflite")
    files.write(files.unpack(path.read_bytes()), path)
    metadata.write(path, FULL)
    data = path.read_bytes()
    model = schema.Model.GetRootAs(data)
    tables = [model.Buffers(k)._tab for k in range(model.BuffersLength())]
    starts = [table.Vector(table.Offset(4)) for table in tables if table.Offset(4)]
    assert len(starts) == 3 and all(start % 16 == 0 for start in starts)


def test_the_same_metadata_is_the_same_file_whatever_was_there(file):
    metadata.write(file, FULL)
    first = file.read_bytes()
    metadata.write(file, metadata.read(file))
    assert file.read_bytes() == first
    metadata.write(
        file, dataclasses.replace(FULL, name="x" * 500, labels=None, mean=None, std=None, color=None)
    )
    assert b"bear" not in file.read_bytes()
    metadata.write(file, FULL)
    assert file.read_bytes() == first


def test_what_is_none_is_not_said(file):
    metadata.write(file, FULL)
    metadata.write(file, Metadata(name="mine"))
    assert metadata.read(file) == Metadata(name="mine")


def test_another_file_can_be_written(file, tmp_path):
    before, other = file.read_bytes(), tmp_path / f"other{file.suffix}"
    metadata.write(file, FULL, to=other)
    assert file.read_bytes() == before and metadata.read(other) == FULL


def test_a_link_stays_one(file):
    link = file.with_name(f"link{file.suffix}")
    link.symlink_to(file)
    metadata.write(link, FULL)
    assert link.is_symlink() and metadata.read(file) == FULL


def test_labels_are_a_stored_file_in_a_zip_behind(tmp_path):
    path = made(tmp_path / "net.tflite")
    metadata.write(path, FULL)
    with zipfile.ZipFile(path) as found:
        (info,) = found.infolist()
        assert found.read(info).decode() == "\n".join(FULL.labels)
    assert (info.filename, info.compress_type, info.date_time[0]) == ("labels.txt", zipfile.ZIP_STORED, 1980)
    data = path.read_bytes()  # positions in the zip are those in the file, as Java's reader takes them
    (offset,) = struct.unpack_from("<I", data, data.rindex(b"PK\5\6") + 16)
    assert data[offset : offset + 4] == b"PK\1\2"
    assert struct.unpack_from("<I", data, offset + 42)[0] == data.index(b"PK\3\4")


def test_without_labels_there_is_no_zip(tmp_path):
    path = made(tmp_path / "net.tflite")
    metadata.write(path, dataclasses.replace(FULL, labels=None))
    assert not zipfile.is_zipfile(path)
    assert metadata.read(path).labels is None


def test_a_file_tells_of_other_orders_of_channels_than_rgb(file):
    metadata.write(file, dataclasses.replace(FULL, color="bgr"))
    assert metadata.read(file).color == ("other" if file.suffix == ".tflite" else "bgr")


def test_onnx_has_them_where_onnx_runtime_shows_them(tmp_path):
    import onnx
    import onnxruntime

    path = made(tmp_path / "net.onnx")
    metadata.write(path, FULL)
    found = onnxruntime.InferenceSession(path).get_modelmeta()
    assert found.description == FULL.description
    assert json.loads(found.custom_metadata_map["names"]) == list(FULL.labels)
    assert json.loads(found.custom_metadata_map["mean"]) == list(FULL.mean)
    assert found.custom_metadata_map["model_license"] == "MIT"
    assert found.custom_metadata_map["Image.BitmapPixelFormat"] == "Rgb8"
    onnx.checker.check_model(path)


def test_names_as_others_write_them_are_labels(tmp_path):
    import onnx

    path = made(tmp_path / "net.onnx", filters=2)
    model = onnx.load(path)
    model.producer_name = "theirs"
    for key, value in {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "mean": "no list"}.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    assert metadata.read(path) == Metadata(labels=("cat", "dog"), kept=("stride", "mean"))
    verb.change(path, settings=["name=mine"])
    again = onnx.load(path)
    assert again.producer_name == "theirs" and again.graph == model.graph
    assert {one.key: one.value for one in again.metadata_props} == {
        "stride": "32",
        "mean": "no list",
        "names": '["cat", "dog"]',
        "name": "mine",
    }


@pytest.mark.parametrize("outside", [False, True])
def test_what_others_wrote_stays(tmp_path, outside):
    path = elsewhere(tmp_path / "theirs.tflite", THEIRS, packed=PACKED, outside=outside)
    before = answers(path)
    kept = ("notes.txt", "labels_de.txt", "secret")
    assert metadata.read(path) == Metadata(name="theirs", labels=tuple("abcde"), kept=kept)
    new = dataclasses.replace(
        metadata.read(path), name="mine", labels=tuple("vwxyz"), mean=(1.0,), std=(2.0,)
    )
    for _ in range(2):  # the second time on what we wrote
        metadata.write(path, new)
        assert metadata.read(path) == new
        assert np.array_equal(answers(path), before)
        with zipfile.ZipFile(path) as archive:
            assert archive.read("notes.txt") == b"n" * 100
            assert archive.read("their_labels.txt") == b"v\nw\nx\ny\nz"
    tree = tree_of(path)
    (graph,) = tree["subgraph_metadata"]
    (image,), (scores,) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    assert tree["min_parser_version"] == "1.5.0" and tree["associated_files"] == THEIRS["associated_files"]
    assert graph["custom_metadata"] == THEIRS["subgraph_metadata"][0]["custom_metadata"]
    assert image["dimension_names"] == ["batch", "y", "x", "channel"]
    assert [unit["options"][0] for unit in image["process_units"]] == [
        "RegexTokenizerOptions",
        "NormalizationOptions",
    ]
    assert scores["process_units"] == [
        {"options": ("ScoreThresholdingOptions", {"global_score_threshold": 0.25})}
    ]
    assert read_graph(path).metadata["min_runtime_version"] == ""


def tree_of(path):
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    (buffer,) = [one.buffer for one in model.metadata if one.name == ENTRY.encode()]
    return flatbuffer.read(bytes(model.buffers[buffer].data), "ModelMetadata")


def test_labels_that_are_listed_and_not_there_are_missing_and_can_be_given(tmp_path):
    path = elsewhere(tmp_path / "theirs.tflite", THEIRS)
    assert metadata.read(path).missing == ("their_labels.txt",)
    assert any("their_labels.txt, which is not there" in one for one in verb.carried(path).remarks)
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne")
    assert verb.change(path, labels=tmp_path / "labels.txt").metadata.labels == tuple("abcde")
    assert metadata.read(path).missing == ()


def test_what_a_later_schema_added_is_not_lost_but_refused(tmp_path):
    path = elsewhere(tmp_path / "theirs.tflite", THEIRS)
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    writer = flatbuffer.Writer(b"\0\0\0\0" + IDENTIFIER)
    root, places = writer.record([None] * 8 + [bytes(4)])
    writer.link(0, root)
    writer.link(places[8], writer.vector(b"later", 5))
    model.buffers[-1].data = np.frombuffer(bytes(writer.out), np.uint8)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    before = path.read_bytes()
    assert metadata.read(path) == Metadata()
    with pytest.raises(BadFile, match="its ModelMetadata has fields that this edgecls does not know"):
        metadata.write(path, FULL)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_normalization_is_for_readers_in_the_types_they_see(tmp_path):
    expected = {"float32": ([-1.0], [1.0]), "uint8": ([0.0], [255.0]), "int8": ([-128.0], [127.0])}
    for dtype, (low, high) in expected.items():
        path = made(tmp_path / f"{dtype}.tflite")
        model = files.unpack(path.read_bytes())
        model.subgraphs[0].tensors[0].type = getattr(schema.TensorType, dtype.upper())
        files.write(model, path)
        metadata.write(path, Metadata(mean=(127.5,), std=(127.5,), color="rgb"))
        image = tree_of(path)["subgraph_metadata"][0]["input_tensor_metadata"][0]
        assert image["stats"] == {"min": low, "max": high}
        assert image["process_units"] == [
            {"options": ("NormalizationOptions", {"mean": [127.5], "std": [127.5]})}
        ]
        size = {"width": 1, "height": 1}
        assert image["content"] == {
            "content_properties": ("ImageProperties", {"color_space": 1, "default_size": size})
        }


@pytest.mark.parametrize(
    ("dtype", "shape", "said", "remark"),
    [
        ("float32", (1, 1, 1, 3), {}, "float input needs --set mean"),
        ("float32", (1, 1, 1, 3), {"mean": (1.0,), "std": (2.0,)}, None),
        ("float32", (1, 1, 1, 3), {"mean": (1.0, 1.0, 1.0), "std": (2.0, 2.0, 2.0)}, None),
        ("float32", (1, 1, 1, 3), {"mean": (1.0, 1.0, 2.0), "std": (2.0,) * 3}, "one mean and one std"),
        ("uint8", (1, 1, 1, 3), {}, None),
        ("uint8", (1, 1, 1, 3), {"mean": (1.0, 1.0, 2.0), "std": (2.0,) * 3}, "see other colours"),
        ("uint8", (1, 1, 1, 3), {"color": "bgr"}, "it gives RGB pictures"),
        ("int8", (1, 1, 1, 3), {}, "refuse int8 input"),
        ("uint8", (1, 1, 1, 1), {"color": "gray"}, "refuses input of shape (1, 1, 1, 1)"),
        ("uint8", (2, 1, 1, 3), {}, "refuses input of shape (2, 1, 1, 3)"),
        ("uint8", (1, 3), {}, "a classifier has one picture as input"),
    ],
)
def test_what_phones_make_of_a_file_is_said(tmp_path, dtype, shape, said, remark):
    path = made(tmp_path / "net.tflite")
    model = files.unpack(path.read_bytes())
    model.subgraphs[0].tensors[0].type = getattr(schema.TensorType, dtype.upper())
    model.subgraphs[0].tensors[0].shape = list(shape)
    files.write(model, path)
    metadata.write(path, Metadata(labels=tuple("abcde"), **said))
    found = list(phones.remarks(path, metadata.read(path)))
    assert [remark in one for one in found] == [True] if remark else found == []


def test_without_labels_phones_answer_with_numbers(tmp_path):
    path = made(tmp_path / "net.tflite")
    assert (
        list(phones.remarks(path, None))[-1]
        == "MediaPipe answers with numbers: there are no labels; give --labels"
    )
