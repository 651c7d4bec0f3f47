"""Manifests are read strictly; files take their places whole, manifests last."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from edgecls import artifact
from edgecls.artifact import (
    Agreement,
    CalibrationInfo,
    Manifest,
    ModelInfo,
    Spread,
    TensorInfo,
    Tolerance,
    WeightsInfo,
)
from edgecls.errors import BadFile, UsageError
from edgecls.spec import PREPROCESS

MANIFEST = Manifest(
    file="net-int8.tflite",
    bytes=5,
    sha256="",
    format="tflite",
    precision="int8",
    recipe="tflite-int8",
    model=ModelInfo(
        name="net",
        source="file",
        reference="net.keras",
        classes=2,
        input_size=(4, 4),
        params=None,
        folded_params=8,
        macs=96,
    ),
    weights=WeightsInfo(source="net.keras", trained=True, sha256="0" * 64),
    input=TensorInfo(name="image", shape=(1, 4, 4, 3), dtype="uint8", scale=0.5, zero_point=128),
    output=TensorInfo(name="logits", shape=(1, 2), dtype="uint8", scale=1.0, zero_point=0),
    layout="NHWC",
    preprocess=PREPROCESS["torch"],
    calibration=CalibrationInfo(
        source="photographs",
        count=3,
        digest="1" * 64,
        method="min-max",
        pixels=Spread(min=0, max=255, mean=120, std=60),
        inputs=Spread(min=-1, max=1, mean=-0.06, std=0.47),
        seed=0,
        skipped=("broken.jpg",),
    ),
    agreement=Agreement(
        sqnr_db=30.5,
        cosine=0.99,
        max_error=0.1,
        kl=0.01,
        top1=1.0,
        top5=1.0,
        saturation={"logits": 0.25},
        samples=3,
        pictures="3 pictures",
        tolerance=Tolerance(min_sqnr_db=8.0, ok_sqnr_db=15.0, ok_kl=0.05),
        verdict="OK",
        reason="the same best class",
    ),
    reference="net-reference.npz",
    graph_params=32,
    graph_macs=384,
    lowerings=("groups",),
    float_ops=(),
    notes=("a note",),
    labels=None,
    options={"io": "uint8", "calibration": None, "preprocess": {"mean": [0.0]}},
    tools={"keras": "3"},
    fingerprint="2" * 64,
    seconds=1.5,
)


def stage(folder: Path, content: bytes = b"model") -> tuple[Path, Manifest]:
    """A finished file in a work folder, and its manifest."""
    staged = folder / "work" / "int8.tflite"
    staged.parent.mkdir(exist_ok=True)
    staged.write_bytes(content)
    return staged, dataclasses.replace(MANIFEST, bytes=len(content), sha256=artifact.sha256(staged))


@pytest.fixture
def published(tmp_path) -> artifact.Artifact:
    staged, manifest = stage(tmp_path)
    return artifact.publish(staged, tmp_path / MANIFEST.file, manifest)


def test_what_is_published_is_loaded_as_it_was(published):
    assert artifact.load(published.path) == published
    assert published.path.read_bytes() == b"model"
    assert list(published.path.parent.joinpath("work").iterdir()) == []


def test_a_manifest_is_plain_json_that_people_can_read(published):
    text = artifact.manifest_path(published.path).read_text()
    assert artifact.manifest_path(published.path).name == "net-int8.tflite.json"
    assert text.startswith('{\n "file": "net-int8.tflite",\n') and text.endswith("}\n")
    assert json.loads(text)["schema"] == artifact.SCHEMA


def record(published) -> dict:
    return json.loads(artifact.manifest_path(published.path).read_text())


def refusal(published, changed: dict | list) -> str:
    """Why `load` refuses the artifact with this manifest."""
    artifact.manifest_path(published.path).write_text(json.dumps(changed))
    with pytest.raises(BadFile) as caught:
        artifact.load(published.path)
    return str(caught.value).removeprefix("net-int8.tflite.json is not a manifest: ")


@pytest.mark.parametrize("place", ["", "model", "weights", "input", "preprocess", "calibration", "agreement"])
def test_every_field_has_to_be_there_and_no_other(published, place):
    changed = record(published)
    fields = changed[place] if place else changed
    for name, value in list(fields.items()):
        if name != "schema":
            del fields[name]
            assert refusal(published, changed) == f"no field {name!r}"
            fields[name] = value
    fields["colour"] = 1
    assert refusal(published, changed) == "unknown field 'colour'"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"file": 1}, "expected str, got 1"),
        ({"bytes": "5"}, "expected int, got '5'"),
        ({"bytes": 5.0}, "expected int, got 5.0"),
        ({"bytes": True}, "expected int, got True"),
        ({"seconds": "1"}, "expected float, got '1'"),
        ({"seconds": False}, "expected float, got False"),
        ({"seconds": None}, "expected float, got None"),
        ({"notes": "a note"}, "expected list, got 'a note'"),
        ({"notes": [1]}, "expected str, got 1"),
        ({"options": ["io"]}, "expected dict, got ['io']"),
        ({"tools": {"keras": 3}}, "expected str, got 3"),
        ({"model": "net"}, "expected dict, got 'net'"),
        ({"model": None}, "expected dict, got None"),
        ({"preprocess": 3}, "expected dict, got 3"),
        ({"labels": {"0": "cat"}}, "expected list, got {'0': 'cat'}"),
    ],
)
def test_a_field_of_another_type_is_refused(published, changes, reason):
    assert refusal(published, record(published) | changes) == reason


@pytest.mark.parametrize(
    ("part", "changes", "reason"),
    [
        ("model", {"input_size": [4]}, "shorter"),
        ("model", {"input_size": [4, 4, 3]}, "longer"),
        ("agreement", {"verdict": "FINE"}, "expected one of OK, CAUTION, BROKEN, got 'FINE'"),
        ("input", {"shape": [1, "4"]}, "expected int, got '4'"),
        ("preprocess", {"color": "rbg"}, "expected one of rgb, bgr, gray, got 'rbg'"),
        ("preprocess", {"resize": 100}, "a crop of 224 pixels does not fit a short side of 100"),
    ],
)
def test_a_field_inside_of_another_type_is_refused(published, part, changes, reason):
    changed = record(published)
    changed[part] |= changes
    assert reason in refusal(published, changed)


def test_a_whole_number_is_a_float_too(published):
    changed = record(published) | {"seconds": 2}
    artifact.manifest_path(published.path).write_text(json.dumps(changed))
    seconds = artifact.load(published.path).manifest.seconds
    assert (seconds, type(seconds)) == (2.0, float)


@pytest.mark.parametrize("schema", [0, artifact.SCHEMA + 1, "1", None])
def test_a_manifest_of_another_schema_says_so(published, schema):
    reason = f"schema {schema!r} is not {artifact.SCHEMA}; use the edgecls that wrote it"
    assert refusal(published, record(published) | {"schema": schema}) == reason


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'"net"'])
def test_what_is_not_a_manifest_is_refused(published, content):
    artifact.manifest_path(published.path).write_bytes(content)
    with pytest.raises(BadFile, match=r"^net-int8.tflite.json is not a manifest: "):
        artifact.load(published.path)


def test_a_file_that_was_changed_is_no_artifact(published):
    published.path.write_bytes(b"MODEL")
    with pytest.raises(BadFile, match="net-int8.tflite.json describes another net-int8.tflite; export it again"):
        artifact.load(published.path)


def test_a_file_that_was_cut_short_is_no_artifact(published):
    os.truncate(published.path, 3)
    with pytest.raises(BadFile, match="describes another"):
        artifact.load(published.path)


def test_a_file_without_manifest_is_no_artifact(published):
    artifact.manifest_path(published.path).unlink()
    with pytest.raises(BadFile, match="net-int8.tflite has no manifest net-int8.tflite.json beside it"):
        artifact.load(published.path)


def test_a_manifest_without_file_is_no_artifact(published):
    published.path.unlink()
    with pytest.raises(BadFile, match="no file .*net-int8.tflite"):
        artifact.load(published.path)


def test_the_manifest_moves_last(tmp_path, monkeypatch):
    moved = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (moved.append((Path(a).parent.name, Path(b).name)), replace(a, b)))
    staged, manifest = stage(tmp_path)
    artifact.publish(staged, tmp_path / MANIFEST.file, manifest)
    assert moved[-2:] == [("work", "net-int8.tflite"), ("work", "net-int8.tflite.json")]
    assert "net-int8.tflite" not in [name for _, name in moved[:-2]]


def test_a_manifest_that_cannot_be_written_leaves_what_was_there(published, tmp_path, monkeypatch):
    staged, manifest = stage(tmp_path, b"another model")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        artifact.publish(staged, published.path, manifest)
    assert artifact.load(published.path) == published


def test_numbers_that_json_has_not_are_refused(tmp_path):
    staged, manifest = stage(tmp_path)
    broken = dataclasses.replace(manifest, seconds=float("nan"))
    with pytest.raises(ValueError, match="JSON"):
        artifact.publish(staged, tmp_path / MANIFEST.file, broken)
    assert not (tmp_path / MANIFEST.file).exists()


def test_writing_replaces_a_file_at_once(tmp_path):
    target = tmp_path / "report"
    target.write_text("old")
    with artifact.writing(target) as file:
        file.write("new")
        file.flush()
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_writing_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "report"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), artifact.writing(target) as file:
        file.write("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("folder", ["", "new", "new/and/deep"])
def test_a_folder_that_can_be_made_is_writable_and_is_not_made(tmp_path, folder):
    artifact.check_writable(tmp_path / folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "deep", "deep/er"])
def test_a_file_in_the_way_is_found(tmp_path, below):
    (tmp_path / "out").write_text("a file")
    folder = tmp_path / "out" / below
    with pytest.raises(UsageError) as caught:
        artifact.check_writable(folder, "--artifacts")
    assert str(caught.value) == f"cannot write to {str(folder)!r}: Not a directory; choose another with --artifacts"
    assert (tmp_path / "out").read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_found(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="Permission denied"):
            artifact.check_writable(tmp_path / "new")
    finally:
        tmp_path.chmod(0o700)
