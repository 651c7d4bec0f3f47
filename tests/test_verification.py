"""What agreement means, by hand; and files that do not agree, which must be found out."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tiny

from edgecls import runtimes, verification
from edgecls.artifact import TensorInfo, Tolerance
from edgecls.errors import WorkFailed
from edgecls.reference import Reference

UINT8 = TensorInfo(name="image", shape=(1, 4), dtype="uint8", scale=0.5, zero_point=10)
INT8 = TensorInfo(name="image", shape=(1, 4), dtype="int8", scale=0.25, zero_point=-3)
FLOAT = TensorInfo(name="image", shape=(1, 4), dtype="float32")
#: The two filters of the tiny convolution over three channels.
FILTERS = np.linspace(-1, 1, 6).reshape(2, 3)


def array(*rows):
    return np.array(rows, np.float32)


@pytest.mark.parametrize(
    ("reference", "value", "decibels"),
    [
        (array([3, 4]), array([3, 3]), 13.9794),  # 10 log10(25 / 1)
        (array([1, 1]), array([0, 0]), 0.0),
        (array([1, 0]), array([11, 0]), -20.0),
        (array([10, 0], [0, 0]), array([10, 0], [0.1, 0]), 40.0),
    ],
)
def test_sqnr_is_signal_over_noise(reference, value, decibels):
    assert verification.sqnr_db(reference, value) == pytest.approx(decibels, abs=1e-3)


def test_no_noise_has_no_ratio():
    assert verification.sqnr_db(array([1, 2]), array([1, 2])) is None


def test_noise_without_signal_is_finite():
    assert -500 < verification.sqnr_db(array([0, 0]), array([0, 1])) < -300


REFERENCE = array([1, 2, 3], [3, 2, 1], [0, 5, 0], [4, 0, 0])


def tolerance(at_least=8.0, ok=None) -> Tolerance:
    return Tolerance(min_sqnr_db=at_least, ok_sqnr_db=at_least if ok is None else ok, ok_kl=0.05)


def compare(logits, *, at_least=8.0):
    return verification.agreement(
        REFERENCE, logits, pictures="four pictures", tolerance=tolerance(at_least), saturation={}
    )


def test_agreement_by_hand():
    logits = REFERENCE.copy()
    logits[0] = 1, 3.5, 3  # another best class, 1.5 too much
    found = compare(logits)
    assert found.top1 == 0.75
    assert found.max_error == pytest.approx(1.5 / REFERENCE.std())
    assert found.sqnr_db == pytest.approx(10 * np.log10(69 / 1.5**2))
    assert (found.samples, found.pictures, found.tolerance, found.passed) == (4, "four pictures", tolerance(), True)


def test_equal_logits_agree():
    found = compare(REFERENCE.copy(), at_least=100.0)
    assert (found.sqnr_db, found.max_error, found.top1, found.passed) == (None, 0.0, 1.0, True)


def test_the_tolerance_is_the_least_that_passes():
    logits = REFERENCE + array([1, 0, 0])
    ratio = verification.sqnr_db(REFERENCE, logits)
    assert compare(logits, at_least=ratio).passed
    assert not compare(logits, at_least=ratio + 1e-6).passed


@pytest.mark.parametrize(
    "wrong",
    [
        REFERENCE[:, ::-1],  # classes in another order
        REFERENCE[::-1],  # pictures in another order
        -REFERENCE,
        np.zeros_like(REFERENCE),
        REFERENCE + 3,
        np.exp(REFERENCE) / np.exp(REFERENCE).sum(axis=1, keepdims=True),  # softmax too much
    ],
)
def test_wrong_logits_do_not_agree(wrong):
    assert not compare(wrong).passed


def test_logits_of_another_shape_are_an_error():
    with pytest.raises(WorkFailed, match=r"the file gives logits of shape \(4, 2\), its float model \(4, 3\)"):
        compare(REFERENCE[:, :2])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("whose", ["float model", "file"])
def test_logits_that_are_not_finite_are_an_error(monkeypatch, whose, value):
    broken = REFERENCE.copy()
    broken[1, 1] = value
    sides = (broken, REFERENCE) if whose == "float model" else (REFERENCE, broken)
    with pytest.raises(WorkFailed, match=f"the {whose} gives logits that are not finite"):
        verification.agreement(*sides, pictures="", tolerance=tolerance(), saturation={})


def test_quantizing_by_hand():
    values = array([-5, 0, 0.3, 1000])
    assert verification.quantized(values, UINT8).tolist() == [[0, 10, 11, 255]]
    assert verification.quantized(-values, UINT8).tolist() == [[20, 10, 9, 0]]
    assert verification.quantized(values, INT8).tolist() == [[-23, -3, -2, 127]]
    assert verification.quantized(-1000 * values, INT8).tolist() == [[127, -3, -128, -128]]
    assert verification.quantized(values, UINT8).dtype == np.uint8
    assert verification.quantized(values.astype(np.float64), FLOAT).dtype == np.float32


def test_dequantizing_by_hand():
    assert verification.dequantized(np.array([0, 10, 255], np.uint8), UINT8).tolist() == [-5, 0, 122.5]
    assert verification.dequantized(np.array([-128, -3, 127], np.int8), INT8).tolist() == [-31.25, 0, 32.5]
    assert verification.dequantized(array([1.5]), FLOAT).tolist() == [[1.5]]
    assert verification.dequantized(np.float16([0.5]), FLOAT).dtype == np.float32


@pytest.mark.parametrize("tensor", [UINT8, INT8])
def test_there_and_back_loses_half_a_step_at_most(tensor):
    values = np.linspace(-4, 4, 999, dtype=np.float32)
    back = verification.dequantized(verification.quantized(values, tensor), tensor)
    assert 0 < np.abs(back - values).max() <= tensor.scale / 2 * 1.0001
    assert np.array_equal(verification.quantized(back, tensor), verification.quantized(values, tensor))


def pictures(folder: Path, shape=(1, 1, 3), count=9) -> Path:
    path = folder / "held.npy"
    np.save(path, np.random.default_rng(0).uniform(-1, 1, (count, 1, *shape)).astype(np.float32))
    return path


def checked(path, held, wanted, *, ends=None, at_least=80.0):
    """`check` of one file on pictures of its own order of axes, against logits or a file that gives them."""
    inputs = np.load(held)
    if not isinstance(wanted, np.ndarray):
        wanted = verification.logits(runtimes.open(wanted), inputs)
    if inputs.shape[2] == 3:  # channels first
        inputs = inputs.transpose(0, 1, 3, 4, 2)
    right = Reference(pictures=inputs[:, 0], logits=wanted, words="nine pictures", model={})
    files = [
        {
            "path": str(path),
            "tolerance": dataclasses.asdict(tolerance(at_least)),
            "ends": ends or {},
            "preprocess": None,
        }
    ]
    (found,) = verification.check(files, right)
    return found


@pytest.fixture
def tflite(tmp_path):
    return tiny.save_tflite(tmp_path / "net.tflite", input_shape=(1, 1, 1, 3))


def test_logits_are_the_files_own(tmp_path, tflite):
    held = np.load(pictures(tmp_path))
    found = verification.logits(runtimes.open(tflite), held)
    assert found == pytest.approx(held.reshape(9, 3) @ FILTERS.T, abs=1e-6)
    assert found.dtype == np.float32


def test_logits_of_an_onnx_file(tmp_path):
    path = tiny.save_onnx(tmp_path / "net.onnx", input_shape=(1, 3, 1, 1))
    held = np.load(pictures(tmp_path, (3, 1, 1)))
    found = verification.logits(runtimes.open(path), held)
    assert found == pytest.approx(held.reshape(9, 3) @ FILTERS.T, abs=1e-6)


def test_a_file_agrees_with_logits_that_are_its_own(tmp_path, tflite):
    held = pictures(tmp_path)
    found = checked(tflite, held, (np.load(held).reshape(9, 3) @ FILTERS.T).astype(np.float32))
    assert found["agreement"]["verdict"] == "OK" and found["agreement"]["top1"] == 1.0
    assert found["agreement"]["sqnr_db"] is None or found["agreement"]["sqnr_db"] > 120
    assert found["agreement"]["pictures"] == "nine pictures"
    assert found["input"] == dataclasses.asdict(TensorInfo(name="image", shape=(1, 1, 1, 3), dtype="float32"))
    assert found["output"]["shape"] == (1, 1, 1, 2)
    assert (found["params"], found["macs"], found["float_ops"]) == (6, 6, ["logits"])


def test_the_float_model_can_be_a_file(tmp_path, tflite):
    onnx = tiny.save_onnx(tmp_path / "net.onnx", input_shape=(1, 3, 1, 1))
    assert checked(tflite, pictures(tmp_path), tflite)["agreement"]["sqnr_db"] is None
    assert checked(onnx, pictures(tmp_path, (3, 1, 1)), onnx)["agreement"]["verdict"] == "OK"


def test_a_file_with_other_weights_does_not_agree(tmp_path, tflite):
    data = tflite.read_bytes()
    weights = FILTERS.astype(np.float32)
    assert data.count(weights.tobytes()) == 1
    wrong = tmp_path / "wrong.tflite"
    wrong.write_bytes(data.replace(weights.tobytes(), weights[::-1].tobytes()))  # the classes change places
    found = checked(wrong, pictures(tmp_path), tflite, at_least=8.0)["agreement"]
    assert found["verdict"] == "BROKEN"
    assert found["sqnr_db"] < 0 and found["top1"] == 0.0


def test_a_custom_op_is_refused(tmp_path, tflite):
    path = tiny.save_tflite(tmp_path / "custom.tflite", input_shape=(1, 1, 1, 3), then="FlexErf")
    with pytest.raises(WorkFailed, match=r"^custom.tflite needs custom ops that phones have not: FlexErf$"):
        checked(path, pictures(tmp_path), tflite)


def test_a_damaged_file_is_named_without_its_folder(tmp_path, tflite):
    damaged = tmp_path / "int8.tflite"
    damaged.write_bytes(tflite.read_bytes()[:200])
    with pytest.raises(WorkFailed, match=r"^int8.tflite is damaged or cut short"):
        checked(damaged, pictures(tmp_path), tflite)


@pytest.fixture
def quantized(tmp_path):
    """Makes an int8 file of a float one, with ends of type `io`."""
    from edgecls.exporters import adoption
    from edgecls.exporters import tflite as exporter

    def quantize(source, io="uint8"):
        held, adopted, target = pictures(tmp_path), tmp_path / "float.tflite", tmp_path / "int8.tflite"
        adoption.adopt_tflite(str(source), str(adopted), None, emit=None)
        exporter.quantize(str(adopted), str(target), "int8", str(held), (-1.0, 1.0), io, emit=lambda event: None)
        return checked(target, held, adopted, at_least=20.0)

    return quantize


@pytest.mark.parametrize("io", ["uint8", "int8", "float32"])
def test_an_int8_file_agrees_and_has_no_float_op(quantized, tflite, io):
    found = quantized(tflite, io)
    assert found["agreement"]["verdict"] == "OK" and 20 < found["agreement"]["sqnr_db"] < 80
    assert found["input"]["dtype"] == found["output"]["dtype"] == io
    assert found["float_ops"] == []
    if io == "uint8":  # of the range -1..1
        assert (found["input"]["scale"], found["input"]["zero_point"]) == (pytest.approx(2 / 255), 128)


def test_an_op_left_in_float_in_an_int8_file_is_named(quantized, tmp_path):
    found = quantized(tiny.save_tflite(tmp_path / "net.tflite", input_shape=(1, 1, 1, 3), then="COS"))
    assert found["float_ops"] == ["logits"]
    assert found["input"]["dtype"] == "uint8"


def test_an_onnx_int8_file_is_told_how_its_ends_are_quantized(tmp_path):
    from edgecls.exporters import adoption
    from edgecls.exporters import onnx as exporter

    source = tiny.save_onnx(tmp_path / "net.onnx", input_shape=(1, 3, 1, 1))
    adopted, target, held = tmp_path / "float.onnx", tmp_path / "int8.onnx", pictures(tmp_path, (3, 1, 1))
    adoption.adopt_onnx(str(source), str(adopted), None, emit=None)
    made = exporter.quantize(
        str(adopted), str(target), "int8", str(held), (-1.0, 1.0), "uint8", emit=lambda event: None
    )
    ends = made["ends"]
    found = checked(target, held, adopted, ends=ends, at_least=20.0)
    assert found["agreement"]["verdict"] == "OK" and found["float_ops"] == []
    assert (found["input"], found["output"]) == (ends["image"], ends["logits"])
    assert ends["image"]["scale"] == pytest.approx(2 / 255) and ends["image"]["zero_point"] == 128
    wrong = ends | {"logits": ends["logits"] | {"scale": 2 * ends["logits"]["scale"]}}
    assert checked(target, held, adopted, ends=wrong, at_least=20.0)["agreement"]["verdict"] == "BROKEN"
