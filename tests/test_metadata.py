"""What files say of themselves: written, read, changed; and the model in them, which stays as it is."""

import dataclasses
import json
import random
import struct
import tracemalloc
import zipfile
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import command
import tiny
from edgecls import artifact, labels, metadata, runtimes
from edgecls.errors import BadFile, EdgeclsError, UnknownName, UsageError
from edgecls.exporters import flatbuffer as files
from edgecls.exporters import preprocessing, source, tflite
from edgecls.graph import read as read_graph
from edgecls.metadata import Metadata, flatbuffer, phones
from edgecls.metadata.schema import ENTRY, IDENTIFIER
from edgecls.verbs import metadata as verb
from edgecls.verbs import publication
from edgecls.verbs.export import export

FULL = Metadata(
    name="mine",
    description="Bären, 熊",
    version="3",
    author="somebody",
    licence="MIT",
    input="a picture",
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    color="rgb",
    labels=("bear", "Bär", "熊", "a, b", "c"),
)
FORMATS = ("tflite", "onnx")


@pytest.fixture(params=FORMATS)
def file(request, tmp_path):
    """A model of five outputs that carries nothing."""
    return made(tmp_path / f"net.{request.param}")


def made(path, **options):
    size = {".tflite": (1, 1, 1, 3), ".onnx": (1, 3, 1, 1)}[path.suffix]
    save = {".tflite": tiny.save_tflite, ".onnx": tiny.save_onnx}[path.suffix]
    return save(path, **({"input_shape": size, "filters": 5} | options))


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


def elsewhere(path, tree, *, packed=(), outside=False):
    """A .tflite as other tools make one: metadata among its buffers, by the schema's own packing; files behind."""
    model = schema.ModelT.InitFromPackedBuf(made(path).read_bytes(), 0)
    model.metadata, buffer = [schema.MetadataT(), schema.MetadataT()], schema.BufferT()
    model.metadata[0].name, model.metadata[0].buffer = "min_runtime_version", 0
    model.metadata[1].name, model.metadata[1].buffer = ENTRY, len(model.buffers)
    buffer.data = np.frombuffer(flatbuffer.write("ModelMetadata", tree, IDENTIFIER), np.uint8)
    model.buffers.append(buffer)
    contents = [bytes(one.data) if outside and one.data is not None else b"" for one in model.buffers[:-1]]

    def pack(end):
        for one, content in zip(model.buffers[:-1], contents, strict=True):
            if content:
                one.data, one.offset, one.size = None, end, len(content)
                end += len(content)
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    path.write_bytes(pack(len(pack(1000))) + b"".join(contents))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, content in packed:
            archive.writestr(name, content)
    return path


THEIRS = {
    "name": "theirs",
    "min_parser_version": "1.5.0",
    "associated_files": [{"name": "notes.txt", "type": 1}],
    "subgraph_metadata": [
        {
            "input_tensor_metadata": [
                {
                    "name": "picture",
                    "dimension_names": ["batch", "y", "x", "channel"],
                    "process_units": [{"options": ("RegexTokenizerOptions", {"delim_regex_pattern": " "})}],
                }
            ],
            "output_tensor_metadata": [
                {
                    "name": "answer",
                    "associated_files": [
                        {"name": "their_labels.txt", "type": 2},
                        {"name": "labels_de.txt", "type": 2, "locale": "de"},
                    ],
                    "process_units": [
                        {"options": ("ScoreThresholdingOptions", {"global_score_threshold": 0.25})},
                    ],
                }
            ],
            "custom_metadata": [{"name": "secret", "data": bytes(range(40))}],
        }
    ],
}
PACKED = [
    ("notes.txt", "n" * 100),
    ("their_labels.txt", "a\r\nb\nc\nd\ne\n"),
    ("labels_de.txt", "v\nw\nx\ny\nz"),
]


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


# Files that export made


def exported_files(folder):
    found = [path for path in sorted(folder.rglob("*")) if path.suffix[1:] in FORMATS]
    assert len(found) == 6
    return found


def test_exported_files_carry_what_their_manifests_say(cold_export):
    for path in exported_files(cold_export[0]):
        manifest, found = artifact.load(path).manifest, metadata.read(path)
        assert dataclasses.replace(found, kept=()) == publication.described(manifest)
        assert found.name == "lenet5.paper" and found.version == "untrained-0"
        assert (
            f"10 classes, {manifest.precision}, random weights of seed 0: its answers mean nothing"
            in found.description
        )
        assert (found.mean, found.std, found.color, found.labels) == ((20.0,), (200.0,), "gray", None)
        assert str(cold_export[0]) not in found.description


def test_a_file_whose_metadata_was_changed_is_up_to_date(exported):
    path = exported / "lenet5" / "lenet5-int8.tflite"
    verb.change(path, settings=["author=me"])
    (fp32, int8) = export("lenet5", formats="tflite", precisions="int8", out=exported)
    assert int8.path == path and metadata.read(path).author == "me"


@pytest.mark.parametrize(("preprocess", "said"), [("torch", True), ("caffe", True), ("tf", False)])
def test_export_says_where_uint8_is_not_the_cameras_bytes(inline, tmp_path, preprocess, said):
    made(tmp_path / "net.tflite", filters=2)
    found = export(tmp_path / "net.tflite", precisions="int8", preprocess=preprocess, out=tmp_path / "out")
    told = {
        one.manifest.precision: f"{one.path.name} {phones.NOT_PLAIN}" in one.manifest.notes for one in found
    }
    assert told == {"fp32": False, "int8": said}


def outside(path) -> int:
    model = schema.Model.GetRootAs(path.read_bytes())
    return sum(model.Buffers(k).Offset() > 1 for k in range(model.BuffersLength()))


@pytest.fixture
def source_file(tmp_path):
    """A float .tflite and calibration pictures for it."""
    np.save(
        tmp_path / "pictures.npy", np.random.default_rng(0).uniform(-1, 1, (5, 1, 1, 1, 3)).astype(np.float32)
    )
    return made(tmp_path / "source.tflite")


@pytest.mark.parametrize("precision", ["fp16", "dynamic", "int8", "int8-weights", "int16x8"])
def test_every_recipe_keeps_weights_inside_and_is_the_same_with_metadata_in_its_source(
    tmp_path, source_file, precision
):
    targets = [tmp_path / "first.tflite", tmp_path / "second.tflite"]
    io = "uint8" if precision == "int8" else "float32"
    for target in targets:
        arguments = str(source_file), str(target), precision, str(tmp_path / "pictures.npy"), (-1.0, 1.0), io
        tflite.quantize(*arguments, emit=lambda event: None)
        metadata.write(source_file, FULL)
    assert targets[0].read_bytes() == targets[1].read_bytes()
    assert outside(targets[0]) == 0
    model = files.unpack(targets[0].read_bytes())
    assert all(code.deprecatedBuiltinCode == min(code.builtinCode, 127) for code in model.operatorCodes)


def test_weights_outside_are_seen(tmp_path):
    assert outside(elsewhere(tmp_path / "theirs.tflite", THEIRS, outside=True)) > 0


# The command


@pytest.mark.parametrize("format", FORMATS)
def test_a_manifest_follows(exported, format):
    path = exported / "lenet5" / f"lenet5-fp32.{format}"
    digits = exported / "digits.txt"
    digits.write_text("\n".join(f"digit {k}" for k in range(10)))
    done = command.edgecls("metadata", path, "--labels", digits, "--set", "author=me", "--set", "name=a=b")
    assert done.returncode == 0, done.stderr
    assert "labels       10: digit 0, digit 1, digit 2, ..., digit 9\n" in done.stdout
    found = artifact.load(path)  # its digest and size
    assert found.manifest.labels == metadata.read(path).labels == tuple(f"digit {k}" for k in range(10))
    assert metadata.read(path).author == "me" and metadata.read(path).name == "a=b"
    assert [one.name for one in path.parent.iterdir() if one.name.startswith(".")] == []


def test_as_json_it_has_everything(exported):
    done = command.edgecls("metadata", exported / "lenet5" / "lenet5-int8.tflite", "--json")
    found = json.loads(done.stdout)
    assert found["outputs"] == 10 and found["metadata"]["mean"] == [20.0]
    assert found["remarks"][0] == "MediaPipe refuses input of shape (1, 32, 32, 1): it gives one RGB picture"


def test_a_file_without_is_told_so(file):
    done = command.edgecls("metadata", file)
    assert (done.returncode, done.stdout) == (
        0,
        f"{file.name} carries no metadata: --labels and --set write some\n",
    )


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"settings": ["nam=x"]}, UnknownName, "unknown key of --set 'nam'; did you mean name?"),
        (
            {"settings": ["q=x"]},
            UnknownName,
            "unknown key of --set 'q'; valid are author, color, description, input, licence, mean, name, std, version",
        ),
        ({"settings": ["name"]}, UsageError, "--set name: expected name=VALUE; an empty VALUE takes it away"),
        ({"settings": ["name=a", "name=b"]}, UsageError, "--set name is given twice"),
        ({"settings": ["mean=1"]}, UsageError, "--set: mean has 1 numbers and std 0; give both, of as many"),
        (
            {"settings": ["std=0", "mean=1"]},
            UsageError,
            "--set std=0: expected 1 number of pixels 0..255, or 3",
        ),
        ({"settings": ["mean=1,2", "std=1,2"]}, UsageError, "--set mean=1,2: expected 1 number of pixels"),
        ({"settings": ["mean=nan", "std=1"]}, UsageError, "--set mean=nan: expected"),
        (
            {"settings": ["color=green"]},
            UnknownName,
            "unknown color of --set 'green'; valid are bgr, gray, rgb",
        ),
        ({"labels": "four"}, UsageError, "--labels names 4 classes, the model has 5"),
        ({"labels": "nothing"}, BadFile, "no labels 'nothing'; give a file with one a line"),
    ],
)
def test_what_cannot_be_changed_is_told_why_and_nothing_changes(file, monkeypatch, options, kind, message):
    monkeypatch.chdir(file.parent)
    Path("four").write_text("a\nb\nc\nd")
    before = command.files(file.parent)
    with pytest.raises(kind) as caught:
        verb.change(file, **options)
    assert str(caught.value).startswith(message)
    assert command.files(file.parent) == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("folder.tflite", None, "is a folder; name a .tflite or .onnx file in it"),
        ("net.keras", b"", "is no .tflite or .onnx file"),
        ("empty.onnx", b"", "empty.onnx is empty"),
        (
            "text.tflite",
            b"not a model, in words",
            "text.tflite is damaged, or no model: its bytes 4 to 7 should be b'TFL3'",
        ),
        ("text.onnx", b"not a model, in words", "text.onnx is damaged, or no model: "),
        ("none.onnx", ..., "no file "),
    ],
)
def test_what_is_no_model_is_told_why(tmp_path, name, content, message):
    path = tmp_path / name
    if content is None:
        path.mkdir()
    elif content is not ...:
        path.write_bytes(content)
    for call in (verb.carried, lambda path: metadata.write(path, FULL)):
        with pytest.raises(BadFile) as caught:
            call(path)
        assert message in str(caught.value)
    assert len(list(tmp_path.iterdir())) == (content is not ...)


def test_how_pictures_become_input_is_not_changed_behind_a_manifest(exported):
    path = exported / "lenet5" / "lenet5-fp32.tflite"
    with pytest.raises(
        UsageError, match=r"lenet5-fp32.tflite was verified with its own; export it again with --preproc"
    ):
        verb.change(path, settings=["mean=1", "std=2"])
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(BadFile, match="describes another lenet5-fp32.tflite"):
        verb.change(path, settings=["name=x"])


def test_imagenets_labels_fit_a_model_with_a_background(file):
    made(file, filters=1001)
    found = verb.change(file, labels="imagenet").metadata.labels
    assert found == ("background", *labels.imagenet()) == labels.fit(labels.imagenet(), 1001)
    with pytest.raises(UsageError, match="names 1000 classes, the model has 1002"):
        labels.fit(labels.imagenet(), 1002)


def test_a_file_to_export_brings_its_labels_and_preprocessing(file):
    metadata.write(file, dataclasses.replace(FULL, mean=(127.5,), std=(127.5,)))
    found = source.resolve(file)
    assert found.labels == FULL.labels
    assert found.preprocess == preprocessing.parse("tf")
    assert source.resolve(file, preprocess="torch").preprocess == preprocessing.parse("torch")


# Damaged files


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
