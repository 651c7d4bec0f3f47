"""Random weights are reproducible, and keep activations and logits in range."""

import hashlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from edgecls import builder, images, registry, synthetic
from edgecls.errors import WorkFailed
from edgecls.randomise import LOGIT_STD, PICTURES, randomise
from edgecls.spec import PREPROCESS

PREPARE = PREPROCESS["tf"].at(32)
SPEC = registry.get("mobilenet_v2")


@pytest.fixture(scope="module")
def mobilenet():
    return builder.build(SPEC)


def digest(model):
    return hashlib.sha256(b"".join(variable.numpy().tobytes() for variable in model.variables)).hexdigest()


def others(count, size=224):
    """Normalised pictures that the weights were not fitted to."""
    return images.normalise(synthetic.pictures(count, size, seed=99), SPEC.preprocess)


def small(*stack, size=32):
    image = x = keras.Input((size, size, 3))
    for layer in stack:
        x = layer(x)
    return keras.Model(image, x)


def pool():
    return keras.layers.GlobalAveragePooling2D()


def dense(units=10, **options):
    return keras.layers.Dense(units, **options)


def conv(filters, kernel=3, **options):
    return keras.layers.Conv2D(filters, kernel, **options)


def stds(model, pictures):
    """Standard deviation of the output of every layer, by name."""
    outputs = {layer.name: layer.output for layer in model.layers[1:]}
    values = keras.Model(model.input, outputs).predict(pictures, verbose=0)
    return {name: float(value.std()) for name, value in values.items()}


def outside(stds, low=0.1, high=10.0):
    return [name for name, std in stds.items() if not low < std < high]


def test_another_process_draws_the_same_bytes(mobilenet):
    code = "import test_randomise as t; print(t.digest(t.builder.build(t.SPEC)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=__file__.rpartition("/")[0], capture_output=True, text=True, check=True
    )
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


def test_statistics_are_exact_on_the_pictures_they_were_taken_from(monkeypatch):
    fitted = []
    draw = synthetic.pictures
    monkeypatch.setattr(synthetic, "pictures", lambda *args, **kw: fitted.append(draw(*args, **kw)) or fitted[-1])
    norm = keras.layers.BatchNormalization(name="norm", epsilon=1e-5)
    model = small(conv(8), norm, keras.layers.ReLU(), conv(8), pool(), dense())
    randomise(model, PREPARE)
    [pictures] = fitted
    assert pictures.shape == (PICTURES, 32, 32, 3)
    normed = keras.Model(model.input, {"norm": norm.output, "logits": model.output})
    got = normed.predict(images.normalise(pictures, PREPARE), verbose=0)
    np.testing.assert_allclose(got["norm"].mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(got["norm"].std((0, 1, 2)), 1, atol=1e-3)
    np.testing.assert_allclose(got["logits"].mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(got["logits"].std(0), LOGIT_STD, rtol=1e-3)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (lambda: conv(256, 3), 3 * 3 * 32),
        (lambda: conv(256, 3, groups=4), 3 * 3 * 8),
        (lambda: keras.layers.DepthwiseConv2D(5, depth_multiplier=16), 5 * 5),
        (lambda: dense(512), 32),
    ],
)
def test_kernels_are_he_normal(layer, fan_in):
    layer = layer()
    randomise(small(conv(32), layer, pool(), dense()), PREPARE)
    kernel = layer.kernel.numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.03)
    assert abs(kernel.mean()) < 0.03 * kernel.std()
    assert not layer.bias.numpy().any()


def test_a_layers_weights_do_not_depend_on_its_neighbours():
    first, second = conv(4, name="same"), conv(4, name="same")
    randomise(small(first, pool(), dense()), PREPARE)
    randomise(small(conv(3, name="before"), second, pool(), dense(7)), PREPARE)
    assert first.kernel.shape == second.kernel.shape
    np.testing.assert_array_equal(first.kernel.numpy(), second.kernel.numpy())


@pytest.mark.parametrize(
    "stack",
    [
        lambda: [conv(16), keras.layers.ReLU(), pool(), dense(use_bias=False)],
        lambda: [conv(16), keras.layers.ReLU(), conv(10, 1), pool()],
        lambda: [conv(16), keras.layers.ReLU(), pool(), keras.layers.Reshape((1, 1, 16)), conv(10, 1)],
        lambda: [conv(16), keras.layers.LayerNormalization(), pool(), dense()],
    ],
    ids=["no bias", "convolution before the pool", "convolution after the pool", "layer normalization"],
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
