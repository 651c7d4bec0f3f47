"""A trained network on photographs: what int8 costs in accuracy, where those files are at hand."""

from pathlib import Path

import numpy as np
import pytest

import command
from edgecls import artifact, images, runtimes, verification
from edgecls.exporters.recipe import FORMATS

REAL = Path(__file__).resolve().parent.parent.parent / "shared" / "real"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"no trained model and no photographs in {REAL}")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """By "precision.format" the artifacts of the trained MobileNetV2, calibrated on 100 photographs."""
    out = tmp_path_factory.mktemp("trained")
    arguments = "--preprocess", "tf", "--int8", "--calibration", REAL / "calibration", "--out", out
    done = command.edgecls("export", REAL / "mobilenet_v2_imagenet.keras", *arguments)
    assert done.returncode == 0, done.stderr
    return {
        f"{precision}.{format}": artifact.load(
            out / "mobilenet_v2_imagenet" / f"mobilenet_v2_imagenet-{precision}.{format}"
        )
        for precision in ("fp32", "int8")
        for format in FORMATS
    }


@pytest.fixture(scope="module")
def correct(exported):
    """For each artifact, which of the 300 labelled photographs it names rightly."""
    names = (REAL / "wnids.txt").read_text().split()
    preprocess = exported["fp32.tflite"].manifest.preprocess
    photographs = images.pictures_in(REAL / "eval")
    labels = np.array([names.index(path.parent.name) + 1 for path in photographs])  # class 0 is background
    inputs = np.stack([images.load(path, preprocess) for path in photographs])[:, None]
    assert inputs.shape == (300, 1, 224, 224, 3)
    return {
        name: verification.logits(runtimes.open(one.path, threads=2), inputs).argmax(axis=1) == labels
        for name, one in exported.items()
    }


def test_the_float_files_are_right_as_often_as_the_model_was_when_it_was_published(correct):
    # 0.863 of these photographs when the crop's odd pixel is on the other side; chance is 0.001.
    assert correct["fp32.tflite"].mean() == pytest.approx(0.863, abs=0.01)
    assert np.array_equal(correct["fp32.tflite"], correct["fp32.onnx"])


@pytest.mark.parametrize("format", FORMATS)
def test_int8_costs_a_point_at_most(correct, format):
    assert correct[f"int8.{format}"].mean() >= correct[f"fp32.{format}"].mean() - 0.01


@pytest.mark.parametrize("format", FORMATS)
def test_the_manifest_says_what_it_was_calibrated_on(exported, format):
    manifest = exported[f"int8.{format}"].manifest
    assert (manifest.calibration.source, manifest.calibration.count) == (str(REAL / "calibration"), 100)
    assert manifest.weights.trained and manifest.float_ops == () and manifest.notes == ()
    assert manifest.agreement.passed and manifest.agreement.top1 > 0.8
    assert (manifest.model.classes, manifest.model.input_size) == (1001, (224, 224))
