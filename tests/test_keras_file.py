"""Keras models from files: those that classify one picture are taken, code in a file is not run."""

import importlib
import sys
from pathlib import Path

import nets
import numpy as np
import pytest

from edgecls import keras_file
from edgecls.errors import BadFile, UsageError
from edgecls.exporters import frozen, preprocessing

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
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
    loaded, notes = keras_file.load(folder / name)
    assert answers(loaded) == pytest.approx(answers(model), abs=1e-5)
    assert notes == (["net takes any number of pictures at once; the files made of it take one"] if name == "net" else [])


def adapted():
    """Normalization by the mean and the variance of pixels."""
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 3)).astype(np.float32))
    return layer


SCALING = {
    "Rescaling": lambda: layers.Rescaling(1 / 127.5, -1),
    "Normalization": lambda: layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[5000.0] * 3),
    "adapted": adapted,
    "mobilenet_v2": lambda: keras.applications.mobilenet_v2.preprocess_input,
    "resnet50": lambda: keras.applications.resnet50.preprocess_input,
    "densenet": lambda: keras.applications.densenet.preprocess_input,
}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", SCALING)
def test_what_scales_pixels_first_is_seen(tmp_path, name, suffix):
    augmentation = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)])
    image = keras.Input((16, 16, 3))
    x = SCALING[name]()(augmentation(image))
    keras.Model(image, layers.Dense(2)(layers.Flatten()(x))).save(tmp_path / f"net{suffix}")
    assert preprocessing.takes_pixels(preprocessing.first_steps(tmp_path / f"net{suffix}"))


def adapted_to_shares():
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).uniform(0, 1, (8, 16, 16, 3)).astype(np.float32))
    return layer


@pytest.mark.parametrize(
    "build",
    [
        nets.net,
        lambda: nets.net(first=[layers.Rescaling(2, -1)]),
        lambda: nets.net(first=[adapted_to_shares()]),
        lambda: nets.net(middle=[layers.Rescaling(1 / 255)]),
    ],
)
def test_what_is_not_surely_of_pixels_is_left_to_the_user(tmp_path, build):
    build().save(tmp_path / "net.keras")
    assert not preprocessing.takes_pixels(preprocessing.first_steps(tmp_path / "net.keras"))


def test_uint8_pictures_are_pixels(tmp_path):
    model = nets.net(dtype="uint8", first=[layers.Rescaling(1 / 255)])
    model.save(tmp_path / "net.keras")
    assert preprocessing.takes_pixels(preprocessing.first_steps(tmp_path / "net.keras"))
    loaded, _ = keras_file.load(tmp_path / "net.keras")
    assert loaded.inputs[0].dtype == "float32"
    pixels = np.random.default_rng(0).integers(256, size=(4, 16, 16, 3)).astype(np.float32)
    assert np.asarray(loaded(pixels)) == pytest.approx(np.asarray(model(pixels)), abs=1e-5)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_file_is_not_run(tmp_path, suffix):
    witness, path = tmp_path / "witness", tmp_path / f"net{suffix}"
    attack = eval(f"lambda x: (open({str(witness)!r}, 'w').close(), x)[1]")  # a file holds the code of a lambda
    image = keras.Input((16, 16, 3))
    keras.Model(image, layers.Dense(2)(layers.Flatten()(layers.Lambda(attack, name="mine")(image)))).save(path)
    witness.unlink()  # building the model ran it
    with pytest.raises(BadFile) as caught:
        keras_file.load(path)
    where = "code in it would be run, that of the Lambda layer 'mine'"
    reason = f"{where}; replace it, or trust the file with --unsafe"
    assert str(caught.value) == f"net{suffix} cannot be loaded as a Keras model: {reason}"
    assert not witness.exists()
    keras_file.load(path, unsafe=True)
    assert witness.exists()


def two_inputs():
    one, two = keras.Input((16, 16, 3), name="one"), keras.Input((16, 16, 3), name="two")
    return keras.Model([one, two], layers.Dense(2, name="sum")(layers.Flatten()(layers.add([one, two]))))


def two_outputs():
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Flatten()(image)
    return keras.Model(image, [layers.Dense(2, name="one")(x), layers.Dense(3, name="two")(x)])


def of_any_size():
    image = keras.Input((None, None, 3))
    return keras.Model(image, layers.Dense(2)(layers.GlobalMaxPooling2D()(image)))


def of_any_size_but_small():
    image = keras.Input((None, None, 3))
    return keras.Model(image, layers.Dense(2)(layers.GlobalMaxPooling2D()(layers.Conv2D(2, 7)(image))))


def of_shape(*shape):
    image = keras.Input(shape)
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(image)))


def segmenting():
    image = keras.Input((16, 16, 3))
    return keras.Model(image, layers.Conv2D(2, 1)(image))


def in_policy(policy):
    keras.config.set_dtype_policy(policy)
    try:
        return nets.nested()
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_model_of_mixed_precision_computes_in_float32(tmp_path, suffix):
    model = in_policy("mixed_float16")
    model.save(tmp_path / f"net{suffix}")
    loaded, notes = keras_file.load(tmp_path / f"net{suffix}")
    assert notes == [f"net{suffix} was trained in mixed_float16; here it computes in float32"]
    assert {layer.compute_dtype for layer in loaded._flatten_layers()} == {"float32"}
    graph, _ = frozen.freeze(loaded)
    assert "Cast" not in {node.op for node in graph.graph.node}
    assert [a.shape for a in loaded.get_weights()] == [a.shape for a in model.get_weights()]
    assert all((a == b).all() for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True))
    assert answers(loaded) == pytest.approx(answers(model), abs=0.02)


def of_any_number(batch=None):
    return nets.net(batch_size=batch)


def test_a_model_of_any_size_takes_the_one_asked_for(tmp_path):
    model = of_any_size()
    model.save(tmp_path / "net.keras")
    loaded, _ = keras_file.load(tmp_path / "net.keras", input_size=24)
    assert loaded.input_shape == (None, 24, 24, 3)
    pictures = np.random.default_rng(0).uniform(size=(2, 24, 24, 3)).astype(np.float32)
    assert np.asarray(loaded(pictures)) == pytest.approx(np.asarray(model(pictures)), abs=1e-6)


def test_a_row_of_classes_may_have_more_axes(tmp_path):
    image = keras.Input((16, 16, 3))
    model = keras.Model(image, layers.Conv2D(5, 16)(image))
    model.save(tmp_path / "net.keras")
    loaded, _ = keras_file.load(tmp_path / "net.keras")
    assert loaded.output_shape == (None, 5)
    assert answers(loaded) == pytest.approx(answers(model).reshape(-1, 5), abs=1e-6)


def test_a_sequential_model_without_input_is_known_by_what_it_was_trained_on(tmp_path):
    model = keras.Sequential([layers.Conv2D(4, 3), layers.Dropout(0.5), layers.GlobalAveragePooling2D(), layers.Dense(2)])
    model.compile("sgd", loss=lambda truth, found: keras.ops.mean((truth - found) ** 2))
    model.fit(np.ones((4, 16, 16, 3)), np.ones((4, 2)), verbose=0)
    model.save(tmp_path / "net.keras")
    loaded, _ = keras_file.load(tmp_path / "net.keras")
    assert answers(loaded) == pytest.approx(answers(model), abs=1e-6)


SIZE = "takes pictures of any size; say which with --input-size"


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (two_inputs, "has 2 inputs (one, two) and 1 output (sum); a classifier has one of each, the picture and the logits"),
        (two_outputs, "has 1 input (image) and 2 outputs (one, two); a classifier has one of each, the picture and the logits"),
        (of_any_size, SIZE),
        (lambda: of_any_number(8), "takes 8 pictures at once, expected 1 or any number"),
        (lambda: of_shape(16, 20, 3), "takes pictures of 16x20, expected a square: pictures are cropped to one"),
        (lambda: of_shape(16, 16, 4), "takes input of shape (None, 16, 16, 4), expected (batch, height, width, 1 or 3)"),
        (lambda: of_shape(16), "takes input of shape (None, 16), expected (batch, height, width, 1 or 3)"),
        (segmenting, "gives output of shape (None, 16, 16, 2), expected (batch, classes)"),
        (lambda: in_policy("float16"), "computes in float16; build it with the dtype policy float32"),
        (lambda: in_policy("float64"), "computes in float64; build it with the dtype policy float32"),
        (lambda: nets.net(dtype="int32", first=[layers.Rescaling(1 / 255)]), "takes int32 pictures, expected float32"),
    ],
)
def test_what_is_no_classifier_of_pictures_is_told_why(tmp_path, build, reason):
    build().save(tmp_path / "net.keras")
    with pytest.raises(UsageError) as caught:
        keras_file.load(tmp_path / "net.keras")
    assert str(caught.value) == f"net.keras {reason}"


@pytest.mark.parametrize(
    ("build", "size", "reason"),
    [
        (nets.net, 24, "--input-size 24 is not to be had: net.keras takes pictures of 16x16 alone"),
        (of_any_size_but_small, 4, "net.keras cannot take pictures of shape (4, 4, 3): "),
    ],
)
def test_a_size_that_cannot_be_had_is_told_why(tmp_path, build, size, reason):
    build().save(tmp_path / "net.keras")
    with pytest.raises(UsageError) as caught:
        keras_file.load(tmp_path / "net.keras", input_size=size)
    assert str(caught.value).startswith(reason) and "\n" not in str(caught.value)


#: A module of the user's own.
MINE = """
import keras

class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x

@keras.saving.register_keras_serializable("mine")
class Thrice(keras.layers.Layer):
    def call(self, x):
        return 3 * x

def swish(x):
    return x * keras.ops.sigmoid(x)

class Net(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.conv = keras.layers.Conv2D(8, 3, activation=swish)
        self.pool, self.dense = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)

    def call(self, x, training=False):
        return self.dense(self.pool(self.conv(x)))
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module `mine` in the current folder, as imported; forgotten before the test and after it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    path = list(sys.path)
    sys.path.insert(0, str(tmp_path))
    module = importlib.import_module("mine")
    sys.path[:] = path
    del sys.modules["mine"]
    keras.saving.get_custom_objects().pop("mine>Thrice")
    yield module
    sys.path[:] = path
    sys.modules.pop("mine", None)
    keras.saving.get_custom_objects().pop("mine>Thrice", None)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_layers_and_functions_of_the_user_s_own_are_named_and_found(mine, suffix):
    path = Path(f"net{suffix}")
    model = nets.net(middle=[mine.Twice(), mine.Thrice(), layers.Conv2D(8, 1, activation=mine.swish)])
    model.save(path)
    for custom, missing in (([], "Twice"), (["mine:Twice"], "swish")):  # the import registers Thrice
        with pytest.raises(BadFile) as caught:
            keras_file.load(path, custom=custom)
        advice = f"{missing} is not Keras's own; say where it is with --custom MODULE:{missing}"
        assert str(caught.value) == f"net{suffix} cannot be loaded as a Keras model: {advice}"
    loaded, _ = keras_file.load(path, custom=["mine:Twice", "mine:swish"])
    assert answers(loaded) == pytest.approx(answers(model), abs=1e-6)


def test_a_model_class_of_the_user_s_own(mine):
    model = mine.Net()
    model(np.zeros((1, 16, 16, 3)))
    model.save("net.keras")
    loaded, _ = keras_file.load("net.keras", custom=["mine:Net"])
    assert loaded.input_shape == (None, 16, 16, 3)
    assert answers(loaded) == pytest.approx(answers(model), abs=1e-6)


@pytest.mark.parametrize(
    ("custom", "reason"),
    [
        ("gone:Twice", "--custom gone:Twice: importing gone failed: ModuleNotFoundError: No module named 'gone'"),
        ("mine:Gone", "--custom mine:Gone: no Gone in "),
        ("broken:Twice", "--custom broken:Twice: importing broken failed: ZeroDivisionError: division by zero"),
        ("leaving:Twice", "--custom leaving:Twice: importing leaving failed: SystemExit: 3"),
        ("lacking:Twice", "--custom lacking:Twice: importing lacking failed: module 'math' has no attribute 'nothing'"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_why(mine, custom, reason):
    for name, content in {
        "broken": "1 / 0",
        "leaving": "raise SystemExit(3)",
        "lacking": "import math\nmath.nothing",
    }.items():
        Path(f"{name}.py").write_text(content)
    nets.net(middle=[mine.Twice()]).save("net.keras")
    with pytest.raises(UsageError) as caught:
        keras_file.load("net.keras", custom=[custom])
    assert str(caught.value).startswith(reason) and "\n" not in str(caught.value)


class Hub(tf.Module):
    """As models on TensorFlow Hub are: no Keras in it, a table that is gathered, any size, several signatures."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.kernel = tf.Variable(rng.standard_normal((3, 3, 3, 8)), dtype=tf.float32)
        self.table = tf.Variable(rng.standard_normal((8, 11)), dtype=tf.float32)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32, name="inputs")])
    def classify(self, images):
        x = tf.nn.relu(tf.nn.conv2d(images, self.kernel, 2, "SAME"))
        return {"logits": tf.reduce_mean(x, (1, 2)) @ tf.gather(self.table, tf.range(8))}

    @tf.function(input_signature=[tf.TensorSpec((None, 16, 16, 3), tf.float32, name="inputs")])
    def both(self, images):
        logits = self.classify(images)["logits"]
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="jpeg")])
    def from_bytes(self, jpeg):
        return {"logits": tf.zeros((tf.shape(jpeg)[0], 11))}


@pytest.mark.parametrize("names", [["serving_default"], ["image_classification"], ["serving_default", "other"]])
def test_a_saved_model_without_keras_is_taken_by_its_signature(tmp_path, names):
    hub = Hub()
    tf.saved_model.save(hub, tmp_path / "hub", signatures={name: hub.classify for name in names})
    loaded, notes = keras_file.load(tmp_path / "hub", input_size=16)
    assert notes == ["hub takes any number of pictures at once; the files made of it take one"]
    assert loaded.input_shape == (None, 16, 16, 3)
    pictures = nets.pictures()[:, 0]
    assert answers(loaded) == pytest.approx(hub.classify(pictures)["logits"].numpy(), abs=1e-5)
    graph, run = frozen.freeze(loaded)
    assert not [node.op for node in graph.graph.node if "Resource" in node.op or "Variable" in node.op]
    assert run(pictures[:1]) == pytest.approx(hub.classify(pictures[:1])["logits"].numpy(), abs=1e-5)


@pytest.mark.parametrize(
    ("signatures", "reason"),
    [
        (lambda hub: None, "hub has no signature; save it with one of that name, as model.export() does"),
        (
            lambda hub: {"one": hub.classify, "two": hub.classify},
            "hub has signatures one, two and not serving_default; save it with one of that name, as model.export() does",
        ),
        (lambda hub: {"one": hub.classify}, f"hub {SIZE}"),
        (
            lambda hub: {"one": hub.both},
            "hub has 1 input (inputs) and 2 outputs (logits, probabilities); a classifier has one of each, the picture",
        ),
        (lambda hub: {"one": hub.from_bytes}, "hub takes string (None,), expected (batch, height, width, 1 or 3)"),
    ],
)
def test_a_saved_model_that_cannot_be_taken_is_told_why(tmp_path, signatures, reason):
    hub = Hub()
    module = hub if signatures(hub) else tf.Module()
    tf.saved_model.save(module, tmp_path / "hub", signatures=signatures(hub))
    with pytest.raises(UsageError) as caught:
        keras_file.load(tmp_path / "hub")
    assert str(caught.value).startswith(reason) and "\n" not in str(caught.value)


def test_a_saved_model_of_uint8_pictures_takes_floats(tmp_path):
    model = nets.net(dtype="uint8", first=[layers.Rescaling(1 / 255)])
    model.export(tmp_path / "net", verbose=False)
    loaded, _ = keras_file.load(tmp_path / "net")
    graph, _ = frozen.freeze(loaded)
    assert "Cast" not in {node.op for node in graph.graph.node}
    pixels = np.random.default_rng(0).integers(256, size=(4, 16, 16, 3)).astype(np.float32)
    assert np.asarray(loaded(pixels)) == pytest.approx(np.asarray(model(pixels)), abs=1e-5)


def test_augmentation_is_idle_in_a_keras_file_and_refused_in_a_saved_model(tmp_path):
    model = nets.net(first=[keras.Sequential([layers.RandomFlip(), layers.RandomZoom(0.2), layers.GaussianNoise(0.1)])])
    model.save(tmp_path / "net.keras")
    loaded, _ = keras_file.load(tmp_path / "net.keras")
    graph, run = frozen.freeze(loaded)
    assert not [node.op for node in graph.graph.node if "Random" in node.op or "Image" in node.op]
    assert run(nets.pictures()[0]) == pytest.approx(answers(model)[:1], abs=1e-5)
    model.export(tmp_path / "net", verbose=False)  # Keras keeps it, and it flips pictures
    loaded, _ = keras_file.load(tmp_path / "net")
    with pytest.raises(UsageError, match="^net draws random numbers when it answers, as a SavedModel with augmentation"):
        frozen.freeze(loaded, "net")


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
