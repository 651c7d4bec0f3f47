"""`edgecls calibrate check`: two halves of a set of pictures, and what it says of them."""

import json

import command
import graph_files
import numpy as np
import pytest
import tiny

from edgecls import synthetic
from edgecls.errors import UsageError
from edgecls.exporters import calibration
from edgecls.spec import PREPROCESS
from edgecls.verbs import calibrate

SIZE = 8


@pytest.fixture
def halves(tmp_path):
    """What `calibrate.halves` says of an array of pictures, about a float file of a global pool."""
    kernel = np.random.default_rng(0).normal(size=(4, 1, 1, 3)).astype(np.float32)
    image, feature = (1, SIZE, SIZE, 3), (1, SIZE, SIZE, 4)
    path = graph_files.write(
        tmp_path / "float.tflite",
        [
            ("CONV_2D", "image kernel bias", "conv", ("Conv2DOptions", {"strideH": 1, "strideW": 1})),
            ("MEAN", "conv axes", "logits", ("ReducerOptions", {"keepDims": False})),
        ],
        {
            "image": image,
            "conv": feature,
            "logits": (1, 4),
            "kernel": kernel,
            "bias": np.ones(4, np.float32),
            "axes": np.array([1, 2], np.int32),
        },
        inputs="image",
        outputs="logits",
    )

    def check(pictures):
        np.save(tmp_path / "set.npy", pictures)
        plan = calibration.plan(tmp_path / "set.npy", preprocess=PREPROCESS["tf"].at(SIZE))
        (tmp_path / "work").mkdir(exist_ok=True)
        arguments = plan.to_json(), SIZE, 3, "NHWC", str(path), "tflite", str(tmp_path / "work")
        return calibrate.halves(*arguments, lambda event: None)

    return check


def test_halves_of_a_sound_set_make_like_files(halves):
    found = halves(synthetic.pictures(64, SIZE))
    assert (found["info"]["count"], found["distinct"], found["warnings"]) == (64, 64, [])
    assert min(found["first_db"], found["second_db"], found["between_db"]) > 25
    assert 1 <= found["ratio"] < calibrate.MAX_RATIO
    assert found["judged_on"].startswith("32 of the calibration pictures")


def test_halves_that_differ_are_a_warning(halves):
    pictures = synthetic.pictures(64, SIZE)
    pictures[::2] = 128 + (pictures[::2].astype(int) - 128) // 12  # without contrast
    found = halves(pictures)
    assert found["ratio"] > calibrate.MAX_RATIO
    assert any("times as wide as from the other; take more pictures" in warning for warning in found["warnings"])


def test_files_that_differ_in_their_distance_from_float_are_a_warning():
    assert list(calibrate._differences(20.0, 21.9, 1.9, "x")) == []
    assert list(calibrate._differences(31.0, 50.0, 1.9, "x")) == []
    [warning] = calibrate._differences(20.0, 22.1, 1.0, "x")
    assert warning.startswith("one half makes a file of 20.0 dB, the other one of 22.1 dB; take more pictures")
    [warning] = calibrate._differences(20.0, 20.0, 2.1, "x")
    assert warning.startswith("from one half the range of x is 2.1 times as wide as from the other")


def test_one_picture_has_no_halves(halves):
    with pytest.raises(UsageError, match="one picture; two halves need two at least"):
        halves(synthetic.pictures(1, SIZE))


def test_the_command_says_what_it_found_and_exits_with_1_where_something_is_wrong(tmp_path):
    tiny.save_tflite(tmp_path / "net.tflite", input_shape=(1, 1, 1, 3))
    tiny.save_onnx(tmp_path / "net.onnx", input_shape=(1, 3, 1, 1))
    np.save(tmp_path / "set.npy", np.random.default_rng(0).integers(0, 256, (40, 1, 1, 3), np.uint8))
    arguments = "--preprocess", "tf", "--calibration", "set.npy"
    done = command.edgecls("calibrate", "check", "net.tflite", *arguments, cwd=tmp_path)
    # Of one pixel each, all of them show nothing.
    assert done.returncode == 1 and "40 of set.npy, 1 of them distinct" in done.stdout
    assert "warning: 40 of 40 calibration pictures show nothing" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("edgecls: set.npy: these pictures are not fit")
    listed = json.loads(command.edgecls("calibrate", "check", "net.onnx", *arguments, "--json", cwd=tmp_path).stdout)
    assert listed["info"]["count"] == 40 and listed["distinct"] == 1 and len(listed["warnings"]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--calibration", "gone"], "'gone'; give a folder of pictures, a list"),
        ([], "Missing option '--calibration'"),
        (["--calibration", "set.npy", "--calibration-method", "kl"], "unknown calibration method 'kl'"),
        (["--calibration", "set.npy"], "values of set.npy span 0..255, the model's input -1..1; give pixels as uint8"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path, arguments, words):
    tiny.save_tflite(tmp_path / "net.tflite", input_shape=(1, 1, 1, 3))
    np.save(tmp_path / "set.npy", np.float32([0, 255] * 30).reshape(20, 1, 1, 3))
    done = command.edgecls("calibrate", "check", "net.tflite", "--preprocess", "tf", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and words in done.stderr.splitlines()[-1]
