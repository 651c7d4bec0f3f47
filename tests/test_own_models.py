"""`edgecls.export` of what people bring: transfer learning, their own classes, sizes left open, other converters' files."""

import sys
from pathlib import Path

import command
import nets
import numpy as np
import pytest
from test_adoption import TORCH

import edgecls
from edgecls import artifact, runtimes, verification
from edgecls.spec import PREPROCESS

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
layers = keras.layers

SIZE = 32
PIXELS = "scales pixels itself: it takes them as they are, 0..255; --preprocess says otherwise"
SOFTMAX = "ends in a softmax: it gives probabilities, not logits"
ANY_NUMBER = "takes any number of pictures at once; the files made of it take one"


def transfer_learning(base=None):
    """As the tutorials have it: augmentation, scaling, a frozen backbone, a pool, dropout, softmax."""
    if base is None:
        base = keras.Model(*backbone(nets.net(size=SIZE)))
    base.trainable = False
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)])(image)
    x = base(layers.Rescaling(1 / 127.5, offset=-1)(x), training=False)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, layers.Dense(5, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def backbone(model):
    """The input of a model and what its pool takes."""
    (pool,) = [layer for layer in model.layers if isinstance(layer, layers.GlobalAveragePooling2D)]
    return model.input, pool.input


def pixels(count=8) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(count, 1, SIZE, SIZE, 3)).astype(np.float32)


def answers(model) -> np.ndarray:
    return np.concatenate([np.asarray(model(picture, training=False)) for picture in pixels()])


def export(target, folder, *precisions, **options) -> dict[str, artifact.Artifact]:
    made = edgecls.export(target, precisions=precisions or ["fp32"], out=folder / "out", **options)
    return {one.path.name.removeprefix(f"{one.path.parent.name}-"): one for one in made}


@pytest.mark.usefixtures("inline")
def test_a_transfer_learning_model_needs_one_call(tmp_path):
    model = transfer_learning()
    model.save(tmp_path / "mine.keras")
    made = export(tmp_path / "mine.keras", tmp_path, "int8")
    assert list(made) == ["fp32.tflite", "int8.tflite", "fp32.onnx", "int8.onnx"]
    for name, one in made.items():
        manifest = one.manifest
        assert manifest.preprocess == PREPROCESS["none"].at(SIZE)
        assert manifest.notes[:2] == (f"mine.keras {PIXELS}", f"mine.keras {SOFTMAX}")
        assert manifest.model.notes == (f"mine.keras {SOFTMAX}",)
        assert manifest.model.params == 8 * 27 + 16 + 8 * 10 + 5 * 9  # of the backbone too
        found = verification.logits(runtimes.open(one.path), pixels())
        assert verification.sqnr_db(answers(model), found) > (100 if name.startswith("fp32") else 25)
    tensor = made["int8.tflite"].manifest.input  # the camera's bytes go straight in
    assert (tensor.dtype, tensor.scale, tensor.zero_point) == ("uint8", 1.0, 0)


@pytest.mark.usefixtures("inline")
def test_notes_of_a_model_are_kept_for_what_is_made_of_its_float_file_later(tmp_path):
    transfer_learning().save(tmp_path / "mine.keras")
    first = export(tmp_path / "mine.keras", tmp_path, formats="tflite")
    later = export(tmp_path / "mine.keras", tmp_path, "int8", formats="tflite")
    assert first["fp32.tflite"] == later["fp32.tflite"]
    assert later["int8.tflite"].manifest.notes[:2] == (f"mine.keras {PIXELS}", f"mine.keras {SOFTMAX}")


@pytest.mark.usefixtures("inline")
def test_a_backbone_without_statistics_whose_values_vanish_is_exported(tmp_path):
    """Ranges of a millionth and less: ReLU6 overflows in kernels that are not XNNPACK's."""
    image = x = keras.Input((SIZE, SIZE, 3))
    for _ in range(4):
        x = layers.ReLU(6.0)(layers.Conv2D(4, 3, kernel_initializer=keras.initializers.RandomNormal(stddev=1e-3))(x))
    keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))).save(tmp_path / "mine.keras")
    path = export(tmp_path / "mine.keras", tmp_path, "int8", preprocess="tf", formats="tflite")["int8.tflite"].path
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    plain = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    litert.Interpreter(str(path), experimental_op_resolver_type=plain).allocate_tensors()


@pytest.fixture
def own_class(tmp_path, monkeypatch):
    """A file with a model of a class of its own, whose module is in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("my_net.py").write_text(
        "import keras\n"
        "class Net(keras.Model):\n"
        "    def __init__(self, **options):\n"
        "        super().__init__(**options)\n"
        "        self.conv = keras.layers.Conv2D(4, 3, strides=2, activation='relu')\n"
        "        self.pool, self.dense = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5)\n"
        "    def call(self, x, training=False):\n"
        "        return self.dense(self.pool(self.conv(x)))\n"
    )
    sys.path.insert(0, str(tmp_path))
    import my_net

    model = my_net.Net()
    model(np.zeros((1, SIZE, SIZE, 3)))
    model.save("mine.keras")
    model.export("saved", verbose=False)
    yield model
    del sys.modules["my_net"]


@pytest.mark.usefixtures("inline")
def test_a_model_class_of_one_s_own(own_class, tmp_path):
    options = {"custom": ["my_net:Net"], "preprocess": ["mean=0", "std=255"]}
    made = export("mine.keras", tmp_path, "int8", **options)
    for name, one in made.items():
        found = verification.logits(runtimes.open(one.path), pixels() / 255)
        wanted = np.concatenate([np.asarray(own_class(picture / 255)) for picture in pixels()])
        assert verification.sqnr_db(wanted, found) > (100 if name.startswith("fp32") else 20)
        assert one.manifest.options["custom"] == {"my_net:Net": artifact.sha256(Path("my_net.py"))}
        assert one.manifest.preprocess == PREPROCESS["unit"].at(SIZE)


@pytest.mark.usefixtures("inline")
def test_it_is_exported_from_its_saved_model_without_its_class(own_class, tmp_path):
    sys.modules["my_net"].Net = None
    made = export("saved", tmp_path, preprocess="unit")
    for one in made.values():
        assert one.manifest.notes == (f"saved {ANY_NUMBER}",)
        found = verification.logits(runtimes.open(one.path), pixels() / 255)
        wanted = np.concatenate([np.asarray(own_class(picture / 255)) for picture in pixels()])
        assert verification.sqnr_db(wanted, found) > 100


def of_any_size():
    return keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


def by_tensorflow(model, path, **options) -> Path:
    """What TensorFlow's own converter makes of a model."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    for name, value in options.items():
        setattr(converter, name, value)
    path.write_bytes(converter.convert())
    return path


@pytest.mark.usefixtures("inline")
def test_a_tflite_file_of_any_size_by_tensorflow_s_converter(tmp_path):
    model = of_any_size()
    source = by_tensorflow(model, tmp_path / "mine.tflite")
    made = export(source, tmp_path, "int8", input_size=SIZE, preprocess="none")
    for name, one in made.items():
        found = verification.logits(runtimes.open(one.path), pixels())
        assert verification.sqnr_db(answers(model), found) > (100 if name.startswith("fp32") else 20)
        assert one.manifest.input.shape == (1, SIZE, SIZE, 3)
        assert f"mine.tflite takes pictures of any size; the files made of it take {SIZE}x{SIZE}" in one.manifest.notes
    again = export(source, tmp_path, "int8", input_size=SIZE, preprocess="none")
    assert again == made


@pytest.mark.usefixtures("inline")
def test_a_tflite_file_of_transfer_learning_by_tensorflow_s_converter(tmp_path):
    model = transfer_learning()
    made = export(by_tensorflow(model, tmp_path / "mine.tflite"), tmp_path, "int8")
    for name, one in made.items():
        assert one.manifest.preprocess == PREPROCESS["none"].at(SIZE)
        assert set(one.manifest.notes) >= {f"mine.tflite {PIXELS}", f"mine.tflite {SOFTMAX}"}
        found = verification.logits(runtimes.open(one.path), pixels())
        assert verification.sqnr_db(answers(model), found) > (100 if name.startswith("fp32") else 25)


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"optimizations": [tf.lite.Optimize.DEFAULT]}, "is quantized already; give the float32 model it was made from"),
        (
            {
                "optimizations": [tf.lite.Optimize.DEFAULT],
                "target_spec": tf.lite.TargetSpec(supported_types=[tf.float16]),
            },
            "is in float16; give the float32 model it was made from",
        ),
    ],
    ids=["int8", "float16"],
)
def test_what_tensorflow_s_converter_quantized_is_refused(tmp_path, options, reason):
    source = by_tensorflow(nets.net(middle=[layers.Conv2D(64, 3)]), tmp_path / "mine.tflite", **options)
    with pytest.raises(edgecls.errors.UsageError, match=f"^mine.tflite {reason}$"):
        export(source, tmp_path, "int8")


@pytest.mark.usefixtures("inline")
def test_a_file_of_pytorch_is_quantized_and_verified(tmp_path):
    made = export(TORCH / "script-17.onnx", tmp_path, "fp16", "int8", input_size=16, preprocess=["mean=0.5", "std=0.5"])
    assert list(made) == ["fp32.onnx", "fp16.onnx", "int8.onnx"]
    for one in made.values():
        manifest = one.manifest
        assert (manifest.layout, manifest.input.shape, manifest.model.classes) == ("NCHW", (1, 3, 16, 16), 5)
        assert manifest.preprocess == PREPROCESS["tf"].at(16)
        assert f"script-17.onnx {ANY_NUMBER}" in manifest.notes


@pytest.mark.slow
def test_transfer_learning_on_a_whole_backbone_as_a_command(tmp_path):
    base = keras.applications.MobileNetV2((SIZE, SIZE, 3), alpha=0.35, include_top=False, weights=None)
    model = transfer_learning(base)
    pictures, labels = np.random.default_rng(0).uniform(0, 255, (32, SIZE, SIZE, 3)), np.arange(32) % 5
    model.fit(pictures, labels, verbose=0)
    model.save(tmp_path / "mine.keras")
    done = command.edgecls("export", "mine.keras", "--int8", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("fp32.tflite", "int8.tflite", "fp32.onnx", "int8.onnx"):
        manifest = artifact.load(tmp_path / "artifacts" / "mine" / f"mine-{name}").manifest
        assert manifest.agreement.passed
        assert manifest.preprocess == PREPROCESS["none"].at(SIZE)


@pytest.mark.slow
@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("name", ["MobileNetV3Small", "EfficientNetB0", "ConvNeXtTiny"])
def test_models_of_keras_applications_that_scale_pixels(tmp_path, name):
    build = getattr(keras.applications, name)
    model = build(input_shape=(SIZE, SIZE, 3), weights=None, classes=5)
    model.save(tmp_path / "mine.keras")
    for one in export(tmp_path / "mine.keras", tmp_path).values():
        assert set(one.manifest.notes) >= {f"mine.keras {PIXELS}", f"mine.keras {SOFTMAX}"}
        found = verification.logits(runtimes.open(one.path), pixels())
        assert found == pytest.approx(answers(model), abs=1e-5)


@pytest.mark.slow
def test_a_file_of_pytorch_is_profiled(tmp_path):
    source = TORCH / "dynamo-20.onnx"
    done = command.edgecls("export", source, "--int8", "--preprocess", "tf", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "dynamo-20").glob("*.onnx"))
    done = command.edgecls("profile", *files, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "dynamo-20" in done.stdout
