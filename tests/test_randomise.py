"""Random weights are reproducible, and keep activations and logits in range."""

import hashlib
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import edgecls.randomise
from edgecls import builder, images, keras_layers, registry, synthetic
from edgecls.errors import WorkFailed
from edgecls.keras_layers import PositionEmbedding
from edgecls.randomise import GATE_RMS, LOGIT_STD, OFFSET, PICTURES, randomise
from edgecls.spec import PREPROCESS

PREPARE = PREPROCESS["tf"].at(32)
SPEC = registry.get("mobilenet_v2")


@pytest.fixture(scope="module")
def mobilenet():
    return builder.build(SPEC, weights="random")


def digest(model):
    return hashlib.sha256(b"".join(variable.numpy().tobytes() for variable in model.variables)).hexdigest()


def others(count, size=224):
    """Normalised pictures that the weights were not fitted to."""
    return images.normalise(synthetic.pictures(count, size, seed=99), SPEC.preprocess)


@pytest.fixture(autouse=True)
def _names_start_anew():
    """Weights are drawn by name, and Keras counts layers without one on through the process."""
    keras.utils.clear_session()


def small(*stack, size=32):
    image = x = keras.Input((size, size, 3))
    for layer in stack:
        x = layer(x)
    return keras.Model(image, x)


def pool():
    return keras.layers.GlobalAveragePooling2D()


def average():
    return keras.layers.GlobalAveragePooling1D()


def dense(units=10, **options):
    return keras.layers.Dense(units, **options)


def norm(**options):
    return keras.layers.BatchNormalization(**options)


def conv(filters, kernel=3, **options):
    return keras.layers.Conv2D(filters, kernel, **options)


def stds(model, pictures):
    """Standard deviation of the output of every layer, by name."""
    outputs = {layer.name: layer.output for layer in model.layers[1:]}
    values = keras.Model(model.input, outputs).predict(pictures, verbose=0)
    return {name: float(value.std()) for name, value in values.items()}


def sqnr(signal, noisy):
    """dB, between pictures: what all logits of a class share counts neither as signal nor as noise."""
    return 10 * np.log10(np.var(signal - signal.mean(0)) / np.var(noisy - signal))


def outside(stds, low=0.1, high=10.0):
    return [name for name, std in stds.items() if not low < std < high]


def test_another_process_draws_the_same_bytes(mobilenet):
    code = "import test_randomise as t; print(t.digest(t.builder.build(t.SPEC, weights='random')))"
    command, folder = [sys.executable, "-c", code], Path(__file__).parent
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == digest(mobilenet)


def test_another_seed_draws_other_weights():
    model = small(conv(4, name="c"), pool(), dense())
    seen = set()
    for seed in (0, 1, 0):
        randomise(model, PREPARE, seed=seed)
        seen.add(digest(model))
    assert len(seen) == 2


def test_activations_neither_vanish_nor_explode(mobilenet):
    assert outside(stds(mobilenet, others(8))) == []


def test_keras_initial_weights_do_vanish():
    assert outside(stds(builder.assemble(SPEC), others(2)))


def test_logits_tell_pictures_apart(mobilenet):
    logits = mobilenet.predict(others(32), verbose=0)
    assert abs(logits.mean()) < 0.2
    assert 1 < logits.std(axis=0).mean() < 3
    assert len(set(logits.argmax(axis=1))) >= 16


def gain(model):
    """dB that the logits' SQNR lies above the input's, for an input with uniform noise."""
    clean = others(16)
    noisy = clean + np.random.default_rng(0).uniform(-0.05, 0.05, clean.shape).astype(np.float32)
    before, after = (model.predict(pictures, verbose=0) for pictures in (clean, noisy))
    return sqnr(before, after) - sqnr(clean, noisy)


def test_small_disturbances_stay_small(mobilenet):
    assert gain(mobilenet) > -6


def test_without_offset_small_disturbances_grow(monkeypatch):
    monkeypatch.setattr(edgecls.randomise, "OFFSET", 0.0)
    assert gain(builder.build(SPEC, weights="random")) < -10


def test_statistics_are_exact_on_the_pictures_they_were_taken_from(monkeypatch):
    fitted = []
    draw = synthetic.pictures

    def recorded(*args, **options):
        fitted.append(draw(*args, **options))
        return fitted[-1]

    monkeypatch.setattr(synthetic, "pictures", recorded)
    free, first, last = conv(8), norm(epsilon=1e-5), norm(epsilon=1e-5)
    model = small(free, first, keras.layers.ReLU(), conv(8), last, pool(), dense())
    randomise(model, PREPARE)
    [pictures] = fitted
    assert pictures.shape == (PICTURES, 32, 32, 3)
    outputs = {"first": first.output, "last": last.output, "logits": model.output}
    got = keras.Model(model.input, outputs).predict(images.normalise(pictures, PREPARE), verbose=0)
    np.testing.assert_allclose(got["first"].mean((0, 1, 2)), first.beta, atol=1e-4)
    np.testing.assert_allclose(got["last"].mean((0, 1, 2)), last.beta, atol=1e-4)
    assert first.beta.numpy().mean() == pytest.approx(OFFSET, abs=0.05)  # an activation follows
    assert last.beta.numpy().mean() == pytest.approx(0, abs=0.05)
    for name, layer in (("first", first), ("last", last)):
        np.testing.assert_allclose(got[name].std((0, 1, 2)), layer.gamma, atol=1e-3)
    np.testing.assert_allclose(got["logits"].mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(got["logits"].std(0), LOGIT_STD, rtol=1e-3)


def test_without_batch_norm_activations_keep_their_power():
    stack = [layer for _ in range(12) for layer in (conv(16, padding="same"), keras.layers.ReLU())]
    model = small(*stack, pool(), dense())
    caffe = PREPROCESS["caffe"].at(32)  # pixels of 0..255, not normalised
    randomise(model, caffe)
    pictures = images.normalise(synthetic.pictures(16, 32, seed=99), caffe)
    values = keras.Model(model.input, [layer.output for layer in stack[::2]]).predict(pictures, verbose=0)
    powers = [np.square(value).mean() for value in values]  # of pictures other than those it was fitted to
    assert 0.25 < min(powers) and max(powers) < min(4, 3 * min(powers))


GATES = [("sigmoid", GATE_RMS), ("hard_sigmoid", GATE_RMS), ("relu", 1.0)]


@pytest.mark.parametrize(("activation", "rms"), GATES)
def test_what_becomes_a_gate_stays_near_the_middle(activation, rms):
    free = conv(16)
    model = small(free, keras.layers.Activation(activation), pool(), dense())
    randomise(model, PREPARE)
    value = keras.Model(model.input, free.output).predict(others(16, 32), verbose=0)
    assert np.sqrt(np.square(value).mean()) == pytest.approx(rms, rel=0.15)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (lambda: conv(256, 3), 3 * 3 * 32),
        (lambda: conv(256, 3, groups=4), 3 * 3 * 8),
        (lambda: keras.layers.DepthwiseConv2D(5, depth_multiplier=128), 5 * 5),
        (lambda: dense(512), 32),
    ],
)
def test_kernels_are_he_normal(layer, fan_in):
    layer = layer()
    randomise(small(conv(32), layer, norm(), pool(), dense()), PREPARE)
    kernel = layer.kernel.numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.03)
    assert abs(kernel.mean()) < 0.06 * kernel.std()
    assert 0.01 < layer.bias.numpy().std() < 0.04


def test_a_layers_weights_do_not_depend_on_its_neighbours():
    first, second = conv(4, name="same"), conv(4, name="same")
    randomise(small(first, norm(), pool(), dense()), PREPARE)
    randomise(small(conv(3, name="before"), second, norm(), pool(), dense(7)), PREPARE)
    assert first.kernel.shape == second.kernel.shape
    np.testing.assert_array_equal(first.kernel.numpy(), second.kernel.numpy())


@pytest.mark.parametrize(
    "stack",
    [
        lambda: [conv(16), keras.layers.ReLU(), pool(), dense(use_bias=False)],
        lambda: [conv(16), keras.layers.ReLU(), conv(10, 1), pool()],
        lambda: [conv(16), keras.layers.ReLU(), pool(), keras.layers.Reshape((1, 1, 16)), conv(10, 1)],
        lambda: [conv(16), keras_layers.LayerNorm(), keras.layers.ReLU(), pool(), dense()],
        lambda: [conv(16), keras.layers.Reshape((900, 16)), PositionEmbedding(), average(), dense()],
    ],
    ids=["no bias", "convolution before the pool", "convolution after the pool", "layer norm", "positions"],
)
def test_every_kind_of_classifier_gives_centred_logits(stack):
    model = small(*stack())
    randomise(model, PREPARE)
    pictures = images.normalise(synthetic.pictures(64, 32, seed=99), PREPARE)
    logits = model.predict(pictures, verbose=0).reshape(64, 10)
    assert abs(logits.mean()) < 0.5
    assert 0.2 < logits.std(axis=0).mean() < 4
    assert len(set(logits.argmax(axis=1))) >= 5


def test_a_classifier_with_a_window_is_refused():
    with pytest.raises(WorkFailed, match="'wide' is neither dense nor a 1x1 convolution"):
        randomise(small(conv(8), conv(10, 3, name="wide"), pool()), PREPARE)


def test_a_layer_without_a_rule_is_named():
    with pytest.raises(WorkFailed, match="'scaled': alpha of a PReLU"):
        randomise(small(conv(8), keras.layers.PReLU(name="scaled"), pool(), dense()), PREPARE)
