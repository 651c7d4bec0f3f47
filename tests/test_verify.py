"""Files against their float model and against each other, as verb and as command; and what is refused."""

import dataclasses
import json
import shutil

import command
import numpy as np
import pytest
import tiny
from PIL import Image

import edgecls
from edgecls import artifact, reference
from edgecls.errors import BadFile, UsageError

FILES = [
    f"lenet5-{precision}.{format}" for format in ("tflite", "onnx") for precision in ("fp32", "fp16", "int8")
]


@pytest.fixture
def folder(exported):
    return exported / "lenet5"


@pytest.fixture
def verify(inline):
    return edgecls.verify


@pytest.fixture
def colours(tmp_path):
    """Pictures of one pixel."""
    np.save(
        tmp_path / "colours.npy", np.random.default_rng(0).integers(256, size=(20, 1, 1, 3), dtype=np.uint8)
    )
    return tmp_path / "colours.npy"


def agreement(path):
    return artifact.load(path).manifest.agreement


def alone(path, folder):
    """A copy of an artifact without its manifest, as if from elsewhere."""
    return shutil.copy(path, folder / f"theirs{path.suffix}")


def test_what_export_found_is_found_again(verify, folder):
    found = verify([folder / name for name in FILES])
    assert [one.file for one in found] == [str(folder / name) for name in FILES]
    for one in found:
        then, now = agreement(one.file), one.agreement
        assert one.against == "lenet5-reference.npz"
        assert (now.samples, now.pictures, now.tolerance) == (then.samples, then.pictures, then.tolerance)
        assert (now.verdict, now.top1, now.saturation) == (then.verdict, then.top1, then.saturation)
        assert now.sqnr_db == pytest.approx(then.sqnr_db, rel=1e-3)
    assert found[2].next_step is None or "photographs" in found[2].next_step


def test_the_reference_is_of_a_few_megabytes(folder):
    path = folder / "lenet5-reference.npz"
    kept = reference.read(path)
    assert (kept.pictures.shape, kept.pictures.dtype, kept.logits.shape) == (
        (32, 32, 32, 1),
        np.uint8,
        (32, 10),
    )
    assert path.stat().st_size < 100_000


def test_other_pictures_are_compared_on_the_float_file_beside(verify, folder, tmp_path):
    for number in range(12):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.effect_noise((40, 40), 10 * number + 10).save(tmp_path / "pictures" / f"{number}.png")
    int8, fp32 = verify(
        [folder / "lenet5-int8.onnx", folder / "lenet5-fp32.onnx"], pictures=tmp_path / "pictures"
    )
    assert (int8.against, fp32.against) == ("lenet5-fp32.onnx", "lenet5-fp32.tflite")
    assert int8.agreement.pictures == f"12 pictures of {tmp_path / 'pictures'}"
    assert int8.agreement.samples == 12 and int8.agreement.sqnr_db < 60 < fp32.agreement.sqnr_db


def test_two_files_are_compared_across_formats_with_the_tolerance_of_the_coarser(verify, folder):
    first, second = verify(
        [folder / "lenet5-int8.tflite", folder / "lenet5-fp32.tflite"], against=folder / "lenet5-int8.onnx"
    )
    assert first.against == second.against == "lenet5-int8.onnx"
    for one in (first, second):
        assert one.agreement.tolerance == agreement(folder / "lenet5-int8.onnx").tolerance
        assert 8 < one.agreement.sqnr_db < 60
    (same,) = verify(folder / "lenet5-int8.onnx", against=folder / "lenet5-int8.onnx")
    assert same.agreement.sqnr_db is None and same.agreement.verdict == "OK"


def test_a_file_from_elsewhere_needs_another_and_its_preprocessing(verify, folder, tmp_path):
    theirs = alone(folder / "lenet5-int8.tflite", tmp_path)
    with pytest.raises(
        UsageError, match="theirs.tflite has no manifest; name the file to compare it with, --against"
    ):
        verify(theirs)
    with pytest.raises(
        UsageError, match=r"how do pictures become the input of theirs.tflite\? say --preprocess"
    ):
        verify(theirs, against=folder / "lenet5-fp32.onnx")
    (found,) = verify(theirs, against=folder / "lenet5-fp32.onnx", preprocess="like:lenet5")
    assert found.precision == "int8" and found.agreement.samples == 32
    assert found.agreement.sqnr_db == pytest.approx(
        agreement(folder / "lenet5-int8.tflite").sqnr_db, rel=1e-3
    )


def test_two_files_from_elsewhere_are_compared_on_synthetic_pictures(verify, folder, tmp_path):
    theirs, other = (alone(folder / f"lenet5-fp32.{format}", tmp_path) for format in ("tflite", "onnx"))
    (found,) = verify(theirs, against=other, preprocess="like:lenet5")
    assert found.agreement.pictures == "64 pictures of synthetic" and found.agreement.verdict == "OK"


def test_another_net_is_broken(verify, tmp_path, colours):
    net = tiny.save_tflite(tmp_path / "net.tflite", input_shape=(1, 1, 1, 3))
    weights = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    swapped = tmp_path / "swapped.tflite"
    swapped.write_bytes(net.read_bytes().replace(weights.tobytes(), weights[::-1].tobytes()))
    (found,) = verify(swapped, against=net, preprocess="tf", pictures=colours)
    assert found.agreement.verdict == "BROKEN" and not found.agreement.passed
    assert found.agreement.tolerance.min_sqnr_db == 80
    assert found.next_step == "the conversion is at fault: use another format, and report this"


def test_layouts_are_compared_on_the_same_pictures(verify, tmp_path, colours):
    """Channels last against channels first."""
    net = tiny.save_tflite(tmp_path / "net.tflite", input_shape=(1, 1, 1, 3))
    other = tiny.save_onnx(tmp_path / "net.onnx", input_shape=(1, 3, 1, 1))
    for subject, against in ((net, other), (other, net)):
        (found,) = verify(subject, against=against, preprocess="tf", pictures=colours)
        assert found.agreement.verdict == "OK" and found.agreement.samples == 20


def test_integer_ends_that_an_onnx_file_cannot_describe_are_in_its_manifest(verify, folder):
    edgecls.export(
        "lenet5", formats="onnx", precisions="int8", io="uint8", out=folder.parent, weights="random"
    )
    (found,) = verify(folder / "lenet5-int8.onnx")
    manifest = artifact.load(folder / "lenet5-int8.onnx").manifest
    assert manifest.input.dtype == manifest.output.dtype == "uint8"
    assert found.agreement.sqnr_db == pytest.approx(manifest.agreement.sqnr_db, rel=1e-3)
    assert found.agreement.verdict == manifest.agreement.verdict


def test_floats_are_not_shared_by_files_of_different_preprocessing(verify, folder, tmp_path):
    np.save(tmp_path / "floats.npy", np.zeros((9, 32, 32, 1), np.float32))
    theirs = alone(folder / "lenet5-fp32.onnx", tmp_path)
    options = {"against": folder / "lenet5-fp32.tflite", "pictures": tmp_path / "floats.npy"}
    assert verify(theirs, preprocess="like:lenet5", **options)
    with pytest.raises(
        UsageError, match="are floats, which files of other preprocessing cannot share; give pixels"
    ):
        verify(theirs, preprocess=["mean=100", "std=50", "color=gray"], **options)


def test_files_of_different_shapes_are_not_compared(verify, folder, tmp_path):
    net = tiny.save_tflite(tmp_path / "net.tflite", input_shape=(1, 1, 1, 3))
    with pytest.raises(UsageError, match="net.tflite has size 1, lenet5-fp32.tflite 32"):
        verify(net, against=folder / "lenet5-fp32.tflite", preprocess="tf")


def test_a_reference_that_is_gone_or_of_other_weights_is_said(verify, folder):
    path = folder / "lenet5-reference.npz"
    kept = reference.read(path)
    reference.write(path, dataclasses.replace(kept, model={**kept.model, "weights": "random 7"}))
    advice = "give pictures with --pictures, or export it again"
    with pytest.raises(
        BadFile, match=f"lenet5-reference.npz is of other weights than lenet5-int8.onnx; {advice}"
    ):
        verify(folder / "lenet5-int8.onnx")
    path.write_bytes(b"damaged")
    with pytest.raises(BadFile, match="lenet5-reference.npz is not a reference that edgecls export wrote"):
        verify(folder / "lenet5-int8.onnx")
    path.unlink()
    with pytest.raises(
        BadFile, match=f"no file .*lenet5-reference.npz'; it stood beside lenet5-int8.onnx: {advice}"
    ):
        verify(folder / "lenet5-int8.onnx")
    (found,) = verify(folder / "lenet5-int8.onnx", pictures="synthetic")
    assert found.against == "lenet5-fp32.onnx"
    for left in folder.glob("lenet5-fp32.*"):
        left.unlink()
    with pytest.raises(UsageError, match="no float file of the weights of lenet5-int8.onnx beside it"):
        verify(folder / "lenet5-int8.onnx", pictures="synthetic")


def test_preprocessing_is_not_said_twice(verify, folder):
    with pytest.raises(
        UsageError, match="--preprocess is for files whose manifest does not say it; lenet5-int8.onnx has"
    ):
        verify(folder / "lenet5-int8.onnx", preprocess="tf")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.onnx", "no file"),
        ("notes.txt", "notes.txt' is no .tflite or .onnx file; `edgecls export` makes them"),
        ("", "is a folder; name the files in it"),
    ],
)
def test_what_is_no_model_is_said(verify, folder, name, message):
    (folder / "notes.txt").touch()
    with pytest.raises(UsageError, match=message):
        verify(folder / name)
    with pytest.raises(UsageError, match="no file; name .tflite or .onnx files"):
        verify([])


def test_the_command_needs_neither_keras_nor_tensorflow(folder, tmp_path):
    for module in ("tensorflow", "keras", "tf2onnx"):
        (tmp_path / f"{module}.py").write_text("raise ImportError('not here')")
    names = [str(folder / name) for name in ("lenet5-fp32.tflite", "lenet5-int8.onnx")]
    done = command.edgecls("verify", *names, env=command.with_path(tmp_path))
    assert done.returncode == 0 and done.stderr == ""
    header, *rows = done.stdout.splitlines()[:3]
    assert header.split() == "file SQNR dB cosine max error top-1 same top-5 same KL nats verdict".split()
    for name, row in zip(names, rows, strict=True):
        cells, then = row.split(), agreement(name)
        assert (cells[0], cells[-1]) == (name, then.verdict)
        assert float(cells[1]) == pytest.approx(then.sqnr_db, rel=0.01)
        assert (cells[4], cells[5]) == (f"{100 * then.top1:.0f}%", f"{100 * then.top5:.0f}%")
    assert done.stdout.splitlines()[3] == (
        "against lenet5-reference.npz: 32 pictures of synthetic that calibration did not see"
    )


def test_the_command_fails_for_a_broken_file(tmp_path, colours):
    net = tiny.save_tflite(tmp_path / "net.tflite", input_shape=(1, 1, 1, 3))
    other = tiny.save_tflite(tmp_path / "other.tflite", input_shape=(1, 1, 1, 3), then="NEG")
    arguments = "verify", other, "--against", net, "--preprocess", "tf", "--pictures", colours
    done = command.edgecls(*arguments)
    assert done.returncode == 1 and done.stderr == "edgecls: other.tflite: BROKEN\n"
    assert (
        "other.tflite: BROKEN: -6.0 dB, at least 80 dB wanted; the same best class on 0% of the"
        in done.stdout
    )
    (record,) = json.loads(command.edgecls(*arguments, "--json").stdout)
    assert record["agreement"]["verdict"] == "BROKEN" and record["against"] == "net.tflite"
