"""What `edgecls export` takes: architectures by name, model files by path, and nothing else."""

import dataclasses
import json
import zipfile

import numpy as np
import pytest
import tiny
import torch_files

from edgecls import artifact, registry
from edgecls.errors import BadFile, UnknownName, UsageError
from edgecls.exporters import source
from edgecls.exporters.recipe import FORMATS, recipe_for
from edgecls.spec import PREPROCESS


@pytest.mark.parametrize(
    ("format", "precision", "reason"),
    [
        ("coreml", "int8", "unknown format 'coreml'; valid are onnx, tflite"),
        ("tflite", "int4", "unknown recipe 'int4'; did you mean int8?"),
    ],
)
def test_an_unknown_recipe_is_refused(format, precision, reason):
    with pytest.raises(UnknownName) as caught:
        recipe_for(format, precision)
    assert str(caught.value) == reason


def test_phones_want_uint8_and_onnx_runtime_float32():
    assert recipe_for("tflite", "int8").check_io(None) == "uint8"
    assert recipe_for("onnx", "int8").check_io(None) == "float32"
    assert recipe_for("tflite", "int8").check_io("int8") == "int8"
    with pytest.raises(UsageError, match="onnx-int8 cannot have int8 input and output; it can have float32, uint8"):
        recipe_for("onnx", "int8").check_io("int8")


def test_a_row_brings_its_own_facts():
    found = source.resolve("mobilenet_v2", weights="random", classes=10, input_size=96, seed=3)
    assert (found.kind, found.name, found.classes, found.input_size) == ("row", "mobilenet_v2", 10, 96)
    assert (found.spec.key, found.path, found.formats) == ("mobilenet_v2.keras", None, FORMATS)
    assert found.preprocess == found.spec.preprocess.at(96)
    assert (found.weights.source, found.weights.trained, found.weights.seed) == ("random", False, 3)


def test_a_row_has_its_own_classes_and_size_unless_told():
    assert source.resolve("lenet5") == source.resolve("lenet5", classes=10, input_size=32)
    assert source.resolve("lenet5") != source.resolve("lenet5", classes=11)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("mobilenet_v2", "mobilenet_v2"),
        ("mobilenet_v2.keras", "mobilenet_v2"),
        ("mobilenet_v2.torchvision", "mobilenet_v2.torchvision"),
    ],
)
def test_the_first_row_of_a_name_goes_by_it_alone(asked, name):
    assert source.resolve(asked).name == name
    assert registry.shortest_name(registry.get(asked)) == name


def test_other_seeds_are_other_weights():
    digests = {source.resolve("lenet5", seed=seed).digest for seed in (0, 1, 2)}
    assert len(digests) == 3


def test_a_weights_file_is_known_by_its_content(tmp_path):
    first = source.resolve("lenet5", weights=save_weights(tmp_path, classes=10))
    assert first.weights.trained and first.weights.sha256 == first.digest
    assert source.resolve("lenet5", weights=save_weights(tmp_path, classes=10)) == first
    assert source.resolve("lenet5", weights=save_weights(tmp_path, classes=7)).digest != first.digest


def save_weights(folder, *, classes, name="weights.pth"):
    """The classifier alone: nothing is built before the export."""
    kernel = np.ones((84, classes), np.float32)
    return torch_files.save(folder / name, {"classifier/kernel": kernel})


def test_a_weights_file_says_how_many_classes_there_are(tmp_path):
    weights = save_weights(tmp_path, classes=7)
    assert source.resolve("lenet5", weights=weights).classes == 7
    assert source.resolve("lenet5", weights=weights, classes=7).classes == 7
    with pytest.raises(UsageError) as caught:
        source.resolve("lenet5", weights=weights, classes=5)
    advice = "leave --classes out, or train another head with `edgecls finetune`"
    assert str(caught.value) == f"--classes is 5, but the weights are of 7 classes; {advice}"


def test_of_a_checkpoint_the_part_is_known(tmp_path):
    tensor = torch_files.tensor("0", np.ones((7, 84), np.float32))
    content = torch_files.pickled({"model": {"a": tensor}, "model_ema": {"a": tensor}})
    torch_files.write_zip(tmp_path / "net.pth", content, {"0": np.ones((7, 84), np.float32).tobytes()})
    found = source.resolve("lenet5", weights=tmp_path / "net.pth")
    assert found.weights.part == "model_ema"
    assert list(found.weights_notes()) == ["the weights are those of model_ema in net.pth"]
    assert source.resolve("lenet5", weights=save_weights(tmp_path, classes=7)).weights.part is None


def test_labels_are_those_that_are_given_or_those_of_the_published_weights(files):
    (files / "digits.txt").write_text("\n".join("0123456789"))
    (files / "three.txt").write_text("a\nb\nc")
    assert source.resolve("lenet5", labels="digits.txt").labels == tuple("0123456789")
    assert source.resolve("lenet5").labels is None
    assert source.resolve("mobilenet_v2", weights="random").labels is None
    assert source.resolve("mobilenet_v2", weights="imagenet").labels[:2] == ("tench", "goldfish")
    assert source.resolve("resnet110_cifar", weights="imagenet").labels[3] == "cat"
    assert source.resolve("net.onnx", labels="three.txt").labels == ("a", "b", "c")
    with pytest.raises(UsageError, match=r"^--labels names 3 classes, the model has 10$"):
        source.resolve("lenet5", labels="three.txt")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files of every kind, the right ones by their names alone: nothing here opens them but for Rescaling."""
    monkeypatch.chdir(tmp_path)
    for name in ("net.tflite", "net.onnx", "net.v2.onnx", "picture.jpg", "NET.TFLITE", "net.pth"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "empty").mkdir()
    save_keras(tmp_path / "net.keras", ("Conv2D", {}))
    return tmp_path


def save_keras(path, *layers):
    """The configuration of a model with those layers, (class, options) each, as .keras files have it."""
    layers = [{"class_name": kind, "config": options} for kind, options in layers]
    config = {"class_name": "Functional", "config": {"layers": layers}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))


@pytest.mark.parametrize(
    ("file", "kind", "name", "formats"),
    [
        ("net.keras", "keras", "net", FORMATS),
        ("saved", "keras", "saved", FORMATS),
        ("./saved/", "keras", "saved", FORMATS),
        ("net.tflite", "tflite", "net", ("tflite",)),
        ("NET.TFLITE", "tflite", "NET", ("tflite",)),
        ("net.onnx", "onnx", "net", ("onnx",)),
        ("net.v2.onnx", "onnx", "net.v2", ("onnx",)),
    ],
)
def test_a_file_is_what_its_name_says(files, file, kind, name, formats):
    found = source.resolve(file)
    assert (found.kind, found.name, found.formats) == (kind, name, formats)
    assert found.spec is None and found.weights.trained
    assert found.preprocess is None


def test_a_folder_of_a_row_s_name_does_not_hide_the_row(files):
    (files / "mobilenet_v2").mkdir()
    assert source.resolve("mobilenet_v2").kind == "row"
    assert source.resolve("mobilenet_v2.keras").kind == "row"


def test_what_is_in_a_saved_model_is_its_digest(files):
    first = source.resolve("saved").digest
    (files / "saved" / "variables").mkdir()
    (files / "saved" / "variables" / "data").write_bytes(b"1")
    second = source.resolve("saved").digest
    (files / "saved" / "variables" / "data").write_bytes(b"2")
    assert len({first, second, source.resolve("saved").digest}) == 3


def test_files_that_an_onnx_file_keeps_weights_in_are_part_of_its_digest(files):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(tiny.save_onnx(files / "net.onnx"))
    inside = source.resolve("net.onnx").digest
    assert inside == artifact.sha256(files / "net.onnx")
    onnx.save(model, "net.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    outside = source.resolve("net.onnx").digest
    (files / "weights.bin").write_bytes(b"others")
    assert len({inside, outside, source.resolve("net.onnx").digest}) == 3


RESCALING = ("Rescaling", {"scale": 1 / 127.5, "offset": -1.0})


def test_a_model_that_scales_pixels_takes_them_as_they_are(files):
    save_keras(files / "net.keras", ("InputLayer", {"dtype": "float32"}), RESCALING, ("Conv2D", {}))
    found = source.resolve("net.keras")
    assert found.preprocess == PREPROCESS["none"]
    assert found.notes == ("net.keras scales pixels itself: it takes them as they are, 0..255; --preprocess says otherwise",)
    found = source.resolve("net.keras", preprocess="tf")
    assert (found.preprocess, found.notes) == (PREPROCESS["tf"], ())
    found = source.resolve("net.keras", preprocess=["resize=224"])
    assert found.preprocess == dataclasses.replace(PREPROCESS["none"], resize=224)


def test_the_code_of_custom_classes_is_known_by_its_content(files):
    (files / "my_layers.py").write_text("class One: pass")
    (files / "package").mkdir()
    (files / "package" / "inner.py").write_text("class Two: pass")
    custom = ["my_layers:One", "package.inner:Two", "elsewhere:Three"]
    first = source.resolve("net.keras", custom=custom).custom_code()
    assert list(first) == custom and first["elsewhere:Three"] is None
    assert first["package.inner:Two"] == artifact.sha256(files / "package" / "inner.py")
    (files / "my_layers.py").write_text("class One: changed = True")
    second = source.resolve("net.keras", custom=custom).custom_code()
    assert [first[entry] == second[entry] for entry in custom] == [False, True, True]


@pytest.mark.parametrize("name", PREPROCESS)
def test_preprocessing_has_keras_names(files, name):
    assert source.resolve("net.onnx", preprocess=name).preprocess == PREPROCESS[name]


def test_preprocessing_can_be_like_a_rows(files):
    found = source.resolve("net.onnx", preprocess="like:lenet5").preprocess
    assert found == registry.get("lenet5").preprocess


@pytest.mark.parametrize(
    ("target", "options", "kind", "reason"),
    [
        ("mobilnet_v2", {}, UnknownName, "unknown architecture 'mobilnet_v2'; did you mean mobilenet_v2 or"),
        ("mobilenet_v2.pytorch", {}, UnknownName, "unknown source of mobilenet_v2 'pytorch'; valid are"),
        ("gone.keras", {}, BadFile, "no file 'gone.keras'"),
        ("gone/net.onnx", {}, BadFile, "no file 'gone/net.onnx'"),
        ("picture.jpg", {}, BadFile, "cannot export 'picture.jpg'; known are .keras, .h5, .hdf5, .tflite, .onnx and Saved"),
        ("net.pth", {}, UsageError, "net.pth holds weights and no model; `edgecls export NAME --weights net.pth` names"),
        ("empty", {}, BadFile, "'empty' is a folder without saved_model.pb; give a model file or a SavedModel"),
        ("lenet5", {"classes": 0}, UsageError, "--classes must be at least 1, got 0"),
        ("lenet5", {"classes": -5}, UsageError, "--classes must be at least 1, got -5"),
        ("lenet5", {"input_size": 7}, UsageError, "--input-size of lenet5.paper must be at least 32, got 7"),
        ("lenet5", {"seed": -1}, UsageError, "--seed must be at least 0, got -1"),
        ("lenet5", {"weights": "gone.h5"}, BadFile, "no weights file 'gone.h5'; give one of .safetensors"),
        ("lenet5", {"weights": "empty"}, BadFile, "no weights file 'empty'"),
        ("lenet5", {"weights": "picture.jpg"}, UsageError, "cannot read weights from 'picture.jpg'; known are .safetensors"),
        ("lenet5", {"preprocess": "tf"}, UsageError, "--preprocess is for model files; lenet5 is an architecture"),
        ("lenet5", {"custom": ["my:Layer"]}, UsageError, "--custom is for model files; lenet5 is an architecture"),
        ("lenet5", {"unsafe": True}, UsageError, "--unsafe is for model files; lenet5 is an architecture"),
        ("net.onnx", {"classes": 5}, UsageError, "--classes is for architectures; net.onnx has its own"),
        ("net.onnx", {"input_size": 0}, UsageError, "--input-size must be at least 1, got 0"),
        ("net.onnx", {"custom": ["my:Layer"]}, UsageError, "--custom is for .keras and .h5 files; net.onnx is none"),
        ("saved", {"custom": ["my:Layer"]}, UsageError, "--custom is for .keras and .h5 files; saved is none"),
        ("saved", {"unsafe": True}, UsageError, "--unsafe is for .keras and .h5 files; saved is none"),
        ("net.keras", {"custom": ["Layer"]}, UsageError, "--custom Layer: expected MODULE:NAME, such as my_layers:MyLayer"),
        ("net.keras", {"custom": ["my.py:"]}, UsageError, "--custom my.py:: expected MODULE:NAME, such as my_layers:MyLay"),
        ("net.keras", {"custom": ["a b:C"]}, UsageError, "--custom a b:C: expected MODULE:NAME, such as my_layers:MyLayer"),
        ("net.onnx", {"weights": "x.h5"}, UsageError, "--weights is for architectures; net.onnx has its own"),
        ("net.onnx", {"preprocess": "pytorch"}, UnknownName, "unknown preprocessing 'pytorch'; did you mean torch?"),
        ("net.onnx", {"preprocess": "like:nothing"}, UnknownName, "unknown architecture 'nothing'"),
    ],
)
def test_what_cannot_be_exported_is_told_why(files, target, options, kind, reason):
    with pytest.raises(kind) as caught:
        source.resolve(target, **options)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half of one", b"not a zip"])
def test_a_damaged_keras_file_is_found_at_once(files, content):
    (files / "net.keras").write_bytes(content)
    with pytest.raises(BadFile, match=r"^net.keras is not a Keras model: "):
        source.resolve("net.keras")


def test_an_h5_file_without_a_model_is_found_at_once(files):
    h5py = pytest.importorskip("h5py")
    h5py.File(files / "weights.h5", "w").close()
    with pytest.raises(BadFile, match=r"^weights.h5 is not a Keras model: it holds weights alone; save the whole"):
        source.resolve("weights.h5")
