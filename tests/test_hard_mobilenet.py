"""A trained network made hard on purpose: its float is what it was, int8 is broken, and the whole chain finds out why.

Eight channels of the last linear bottleneck are 50 times wider, and the weights of the next 1x1 that read
them 50 times smaller.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import command
import edgecls
from edgecls import artifact, images
from edgecls.spec import PREPROCESS

REAL = Path(__file__).resolve().parent.parent.parent / "shared" / "real"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL.is_dir(), reason=f"no trained model and no photographs in {REAL}"),
]
CHANNELS, FACTOR = 8, 50
CALIBRATION = ["--preprocess", "tf", "--calibration", REAL / "calibration"]


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """The Keras file."""
    import keras

    model = keras.saving.load_model(REAL / "mobilenet_v2_imagenet.keras", compile=False)
    norm, reading = model.get_layer("block_16_project_BN"), model.get_layer("Conv_1")
    photographs = images.pictures_in(REAL / "calibration")[:16]
    inputs = np.stack([images.load(path, PREPROCESS["tf"]) for path in photographs])
    before = model.predict(inputs, verbose=0)
    widths = np.abs(keras.Model(model.input, norm.output).predict(inputs, verbose=0)).max(axis=(0, 1, 2))
    factors = np.ones(len(widths), np.float32)
    factors[np.argsort(-widths)[:CHANNELS]] = FACTOR
    gamma, beta, *moving = norm.get_weights()
    norm.set_weights([gamma * factors, beta * factors, *moving])
    kernel, *bias = reading.get_weights()
    reading.set_weights([kernel / factors[:, None], *bias])
    assert np.allclose(model.predict(inputs, verbose=0), before, atol=1e-3 * np.abs(before).max())
    path = tmp_path_factory.mktemp("hard") / "hard.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def exported(net):
    """The folder with the artifacts, and what the command said."""
    out = net.parent / "out"
    done = command.edgecls("export", net, "--int8", *CALIBRATION, "--out", out, timeout=900)
    return out / "hard", done


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_int8_is_broken_and_float_is_not(exported, format):
    folder, done = exported
    assert done.returncode == 1
    int8, fp32 = edgecls.verify([folder / f"hard-{precision}.{format}" for precision in ("int8", "fp32")])
    assert (int8.agreement.verdict, fp32.agreement.verdict) == ("BROKEN", "OK")
    assert "edgecls inspect" in int8.next_step and "edgecls tune" in int8.next_step


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_inspect_names_the_layer_and_the_cure(exported, format):
    folder, _ = exported
    found = edgecls.inspect(folder / f"hard-int8.{format}")
    worst, second = found.worst[:2]
    assert worst.layer == "Conv_1" and worst.cause == "input" and worst.arises_db < 5
    assert second.layer == "block_16_project" and second.tensor == found.fault and second.spread > 40
    assert found.worst[2].arises_db > 25
    assert found.cure == "keep what block_16_project computes in float: edgecls tune"


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_tune_finds_the_cure(exported, net, format):
    folder, _ = exported
    options = ["--min-sqnr", "18", "--format", format, "--out", folder.parent, "--json"]
    done = command.edgecls("tune", net, *CALIBRATION, *options, timeout=1800)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    for one in found["trials"][1:]:
        assert bool(one["choice"]["layers"]) == (one["sqnr_db"] >= 18)  # no method and no equalisation does it
    assert found["file"] == str(folder / f"hard-tuned.{format}") and found["chosen"] in found["front"]
    cured = artifact.load(found["file"]).manifest
    kept = cured.options["layers"]
    assert len(kept) == 2 and set(kept.values()) == {"float"}
    assert any("block_16_project" in name for name in kept) and any("out_relu" in name for name in kept)
    assert cured.agreement.verdict == "OK" and cured.agreement.sqnr_db >= 18
