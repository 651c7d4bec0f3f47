"""From pictures to files, on real ones: scikit-learn's 8x8 scans of handwritten digits (NIST, 1797 of them)."""

import re
import signal
import subprocess
import time

import command
import numpy as np
import pytest
from PIL import Image

from edgecls import artifact, dataset, images, runtimes, verification
from edgecls.exporters.recipe import FORMATS
from edgecls.finetuning import record

pytestmark = pytest.mark.slow

#: Pictures to train on, and to validate on; the others are for the test alone.
TRAIN, VALIDATE = 1100, 300
PRECISIONS = ("fp32", "fp16", "int8")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder with train/, val/ and test/, each with a folder for each digit."""
    load = pytest.importorskip("sklearn.datasets", reason="scikit-learn, of the extra `test`, has the digits").load_digits
    folder, data = tmp_path_factory.mktemp("digits"), load()
    for place, number in enumerate(np.random.default_rng(0).permutation(len(data.target))):
        split = "train" if place < TRAIN else "val" if place < TRAIN + VALIDATE else "test"
        target = folder / split / str(data.target[number])
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray((data.images[number] * 255 / 16).astype(np.uint8)).save(target / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def trained(digits):
    """The finished command, of a MobileNetV2 on pictures of 32x32."""
    options = "--input-size", 32, "--weights", "random", "--epochs", 25, "--out", digits / "digits.keras"
    return command.edgecls("finetune", "mobilenet_v2_035", "--data", digits, *options, timeout=1800)


@pytest.fixture(scope="module")
def exported(digits, trained):
    """By (format, precision), the artifacts of the network that was trained."""
    assert trained.returncode == 0, trained.stderr
    options = "--int8", "--fp16", "--calibration", digits / "train", "--out", digits / "artifacts"
    done = command.edgecls("export", digits / "digits.keras", *options, timeout=1800)
    assert done.returncode == 0, done.stderr
    where = digits / "artifacts" / "digits"
    return {
        (format, precision): artifact.load(where / f"digits-{precision}.{format}")
        for format in FORMATS
        for precision in PRECISIONS
    }


@pytest.fixture(scope="module")
def right(digits, exported):
    """For each of them, which of the digits in test/ it names rightly."""
    found = dataset.read(digits, split="test")
    preprocess = record.read(digits / "digits.keras").preprocess
    inputs = np.stack([images.load(path, preprocess) for path in found.paths])[:, None]
    assert inputs.shape == (1797 - TRAIN - VALIDATE, 1, 32, 32, 3)
    return {
        which: verification.logits(runtimes.open(one.path, threads=2), inputs).argmax(axis=1) == found.labels
        for which, one in exported.items()
    }


def test_a_line_for_every_epoch_and_a_table(digits, trained):
    assert trained.returncode == 0
    epochs = re.findall(r"^whole +(\d+)/25 .* validation +([\d.]+)% ", trained.stderr, re.MULTILINE)
    training = record.read(digits / "digits.keras")
    assert [int(number) for number, _ in epochs] == list(range(1, len(epochs) + 1))
    assert max(float(share) for _, share in epochs) == round(100 * training.accuracy, 1)
    assert f"{100 * training.accuracy:.1f}% of {VALIDATE}" in trained.stdout
    assert "note: gray pictures: augmented without mirroring and light" in trained.stderr
    assert (training.pictures, training.validation, training.finished) == (TRAIN, VALIDATE, True)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("format", FORMATS)
def test_more_than_95_of_100_new_digits_are_right_in_every_file(right, format, precision):
    assert right[format, precision].mean() > 0.95
    assert right[format, precision].mean() >= right["tflite", "fp32"].mean() - 0.01


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("format", FORMATS)
def test_the_manifest_has_what_the_training_knew(exported, format, precision):
    manifest = exported[format, precision].manifest
    assert manifest.labels == tuple("0123456789")
    assert (manifest.preprocess.crop, manifest.preprocess.std) == (32, (127.5,) * 3)
    assert (manifest.model.name, manifest.model.tier, manifest.model.classes) == ("digits", "light", 10)
    assert manifest.model.params == 1_677_128 - 1281 * 1000 + 1281 * 10
    assert manifest.weights.trained and manifest.agreement.passed


def test_ctrl_c_keeps_the_best_so_far_and_the_same_command_goes_on(digits, tmp_path):
    out = tmp_path / "mine.keras"
    line = command.line("finetune", "lenet5", "--data", digits, "--epochs", 6, "--out", out)
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        said = []
        for text in run.stderr:
            said.append(text)
            if text.startswith("whole   2/6"):
                run.send_signal(signal.SIGINT)
                break
        said += run.stderr.readlines()
        assert run.wait(300) == 130, said
    assert said[-1] == "edgecls: interrupted\n" and "the best so far is kept in" in said[-2]
    kept = record.read(out)
    assert not kept.finished and f"{100 * kept.accuracy:.1f}% of {VALIDATE}" in said[-2]
    done = command.edgecls("finetune", "lenet5", "--data", digits, "--epochs", 6, "--out", out)
    assert done.returncode == 0 and "going on where it was stopped: 2 epochs are done" in done.stderr
    assert "whole   3/6" in done.stderr and "whole   2/6" not in done.stderr
    assert record.read(out).finished and list(tmp_path.iterdir()) == [out]


def test_a_killed_command_goes_on_from_its_last_epoch(digits, tmp_path):
    out = tmp_path / "mine.keras"
    line = command.line("finetune", "lenet5", "--data", digits, "--epochs", 4, "--out", out)
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as run:
        next(text for text in run.stderr if text.startswith("whole   2/4"))
        time.sleep(0.5)  # so that Keras has its backup
        run.kill()
    assert not out.exists()
    done = command.edgecls("finetune", "lenet5", "--data", digits, "--epochs", 4, "--out", out)
    assert done.returncode == 0 and "going on where it was stopped: " in done.stderr
    assert "whole   1/4" not in done.stderr and "whole   4/4" in done.stderr
    assert list(tmp_path.iterdir()) == [out]
