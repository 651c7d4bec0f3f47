"""Keras models from files: those that classify one picture are taken, code in a file is not run."""

import nets
import numpy as np
import pytest

from edgecls import keras_file
from edgecls.errors import BadFile, UsageError

keras = pytest.importorskip("keras")
layers = keras.layers


def answers(model) -> np.ndarray:
    return np.asarray(model(nets.pictures()[:, 0], training=False))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """One model saved in each of the three ways: (model, folder)."""
    folder = tmp_path_factory.mktemp("saved")
    model = nets.net()
    model.save(folder / "net.keras")
    model.save(folder / "net.h5")
    model.export(folder / "net", verbose=False)
    return model, folder


@pytest.mark.parametrize("name", ["net.keras", "net.h5", "net"])
def test_a_saved_model_answers_as_before(plain, name):
    model, folder = plain
    assert answers(keras_file.load(folder / name)) == pytest.approx(answers(model), abs=1e-5)
    assert not keras_file.scales_pixels(folder / name)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("layer", ["Rescaling", "Normalization"])
def test_a_layer_that_scales_pixels_is_seen(tmp_path, layer, suffix):
    scaling = layers.Rescaling(1 / 127.5, -1) if layer == "Rescaling" else layers.Normalization(mean=127.5, variance=5000.0)
    path = tmp_path / f"net{suffix}"
    keras.Sequential([keras.Input((16, 16, 3)), keras.Sequential([scaling]), layers.Flatten(), layers.Dense(2)]).save(path)
    assert keras_file.scales_pixels(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_file_is_not_run(tmp_path, suffix):
    witness, path = tmp_path / "witness", tmp_path / f"net{suffix}"
    attack = eval(f"lambda x: (open({str(witness)!r}, 'w').close(), x)[1]")  # a file holds the code of a lambda
    image = keras.Input((16, 16, 3))
    keras.Model(image, layers.Dense(2)(layers.Flatten()(layers.Lambda(attack)(image)))).save(path)
    witness.unlink()  # building the model ran it
    with pytest.raises(BadFile) as caught:
        keras_file.load(path)
    reason = "code in it would be run, such as a Lambda layer's; replace that by a layer of Keras"
    assert str(caught.value) == f"net{suffix} cannot be loaded as a Keras model: {reason}"
    assert not witness.exists()
    keras.saving.load_model(path, safe_mode=False)
    assert witness.exists()


def two_inputs():
    one, two = keras.Input((16, 16, 3)), keras.Input((16, 16, 3))
    return keras.Model([one, two], layers.Dense(2)(layers.Flatten()(layers.add([one, two]))))


def two_outputs():
    image = keras.Input((16, 16, 3))
    x = layers.Flatten()(image)
    return keras.Model(image, [layers.Dense(2)(x), layers.Dense(3)(x)])


def of_any_size():
    image = keras.Input((None, None, 3))
    return keras.Model(image, layers.Dense(2)(layers.GlobalMaxPooling2D()(image)))


def of_shape(*shape):
    image = keras.Input(shape)
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(image)))


def segmenting():
    image = keras.Input((16, 16, 3))
    return keras.Model(image, layers.Conv2D(2, 1)(image))


def in_half_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        return nets.net()
    finally:
        keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (two_inputs, "has 2 inputs and 1 outputs; a classifier has one of each"),
        (two_outputs, "has 1 inputs and 2 outputs; a classifier has one of each"),
        (of_any_size, "takes pictures of NonexNone, expected a fixed square"),
        (lambda: of_shape(16, 20, 3), "takes pictures of 16x20, expected a fixed square"),
        (lambda: of_shape(16, 16, 4), "takes input of shape (None, 16, 16, 4), expected (batch, height, width, 1 or 3)"),
        (lambda: of_shape(16), "takes input of shape (None, 16), expected (batch, height, width, 1 or 3)"),
        (segmenting, "gives output of shape (None, 16, 16, 2), expected (batch, classes)"),
        (in_half_precision, "computes in float16; build it with the dtype policy float32"),
        (lambda: nets.net(dtype="uint8", first=[layers.Rescaling(1 / 255)]), "takes uint8 pictures, expected float32"),
    ],
)
def test_what_is_no_classifier_of_pictures_is_told_why(tmp_path, build, reason):
    build().save(tmp_path / "net.keras")
    with pytest.raises(UsageError) as caught:
        keras_file.load(tmp_path / "net.keras")
    assert str(caught.value) == f"net.keras {reason}"


def test_a_saved_model_without_signature_is_told_so(tmp_path):
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), tmp_path / "saved")
    with pytest.raises(UsageError, match="saved has no signature serving_default; export it with model.export()"):
        keras_file.load(tmp_path / "saved")


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
def test_a_file_that_was_cut_short_is_told_so(plain, tmp_path, name):
    _, folder = plain
    content = (folder / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(BadFile) as caught:
        keras_file.load(tmp_path / name)
    assert str(caught.value).startswith(f"{name} cannot be loaded as a Keras model: ")
    assert "\n" not in str(caught.value)


def test_a_saved_model_that_was_cut_short_is_told_so(tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"\x08\x01\x12")
    with pytest.raises(BadFile, match=r"^saved cannot be loaded as a Keras model: "):
        keras_file.load(tmp_path / "saved")
