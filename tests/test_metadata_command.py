"""Metadata in the files that export makes, and the command that changes it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import command
from carrying import FORMATS, FULL, THEIRS, elsewhere, made
from edgecls import artifact, labels, metadata
from edgecls.errors import BadFile, UnknownName, UsageError
from edgecls.exporters import flatbuffer as files
from edgecls.exporters import preprocessing, source, tflite
from edgecls.metadata import phones
from edgecls.verbs import metadata as verb
from edgecls.verbs import publication
from edgecls.verbs.export import export


@pytest.fixture(params=FORMATS)
def file(request, tmp_path):
    """A model of five outputs that carries nothing."""
    return made(tmp_path / f"net.{request.param}")


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
