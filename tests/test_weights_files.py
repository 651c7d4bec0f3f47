"""Weights through files of every kind: saved, read back, loaded strictly; and files that claim too much."""

import io
import json
import struct
import zipfile

import goldens
import h5py
import keras
import numpy as np
import pytest
import test_weights_h5
import torch_files
from safetensors.numpy import save_file

from edgecls import builder, h5_file, registry, weights
from edgecls.errors import BadFile, UsageError, WeightsMismatch

ROW = "mobilenet_v1_025.keras"
CLASSES, SIZE = 7, 32
IMAGE = np.random.default_rng(0).standard_normal((1, SIZE, SIZE, 3)).astype(np.float32)

#: How a Keras model is saved, by the ending of the file.
SAVE = {
    ".keras": lambda model, path: model.save(path),
    ".h5": lambda model, path: model.save(path),
    ".weights.h5": lambda model, path: model.save_weights(path),
}


def logits(model):
    return np.asarray(model(IMAGE, training=False))


@pytest.fixture(scope="module")
def ours():
    """A model of ours with random weights."""
    return builder.build(ROW, weights="random", classes=CLASSES, input_size=SIZE)


@pytest.fixture(scope="module")
def empty():
    return builder.assemble(registry.get(ROW), classes=CLASSES, input_size=SIZE)


@pytest.fixture
def blank(empty):
    """A model to load into, all of its weights 0."""
    for variable in empty.variables:
        variable.assign(np.zeros(variable.shape))
    return empty


@pytest.fixture(scope="module")
def theirs(ours):
    """keras.applications's model with the same weights, by its own names."""
    shape = (SIZE, SIZE, 3)
    model = keras.applications.MobileNet(
        shape, alpha=0.25, weights=None, classes=CLASSES, classifier_activation=None
    )
    named = {variable.path: variable for variable in model.variables}
    spec = registry.get(ROW)
    for layer in ours.layers:
        for variable in layer.variables:
            target = named[f"{spec.source_name(layer.name)}/{variable.name}"]
            target.assign(variable.numpy().reshape(target.shape))
    np.testing.assert_allclose(logits(model), logits(ours), rtol=1e-4, atol=1e-5)
    return model


@pytest.mark.parametrize("ending", SAVE)
@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_what_keras_saved_comes_back(tmp_path, request, ours, blank, whose, ending):
    path = tmp_path / f"net{ending}"
    SAVE[ending](request.getfixturevalue(whose), path)
    tensors = weights.read(path)
    assert weights.classes(tensors, registry.get(ROW), None) == CLASSES
    weights.load(blank, tensors, registry.get(ROW))
    np.testing.assert_array_equal(logits(blank), logits(ours))


def test_a_file_sets_the_classes_of_what_is_built(tmp_path, ours):
    ours.save_weights(tmp_path / "net.weights.h5")
    assert builder.build(ROW, weights=tmp_path / "net.weights.h5", input_size=SIZE).output_shape == (
        None,
        CLASSES,
    )
    with pytest.raises(UsageError, match="--classes is 5, but the weights are of 7 classes"):
        builder.build(ROW, weights=tmp_path / "net.weights.h5", classes=5, input_size=SIZE)


def test_layers_that_keras_renamed_load_in_their_order(tmp_path, theirs, ours, blank):
    """As Keras 1 named variables, which are published for VGG so, and keras.applications once its layers."""
    path = tmp_path / "net.h5"
    test_weights_h5.write(path, theirs, layer_name=lambda name: name.replace("conv_preds", "fc"))
    with h5py.File(path, "r+") as file:
        for layer in file.attrs["layer_names"]:
            group = file[layer]
            names = list(group.attrs["weight_names"])
            old = [f"{name.split('/')[0]}_W_{number}:0" for number, name in enumerate(names)]
            for name, new in zip(names, old, strict=True):
                group.move(name, new)
            group.attrs["weight_names"] = old
    weights.load(blank, weights.read(path), registry.get(ROW))
    np.testing.assert_array_equal(logits(blank), logits(ours))
    fewer = dict(list(weights.read(path).items())[:-1])
    with pytest.raises(WeightsMismatch, match="conv1/kernel is missing"):
        weights.load(blank, fewer, registry.get(ROW))


def test_names_of_layers_are_in_the_configuration_of_an_older_file(tmp_path, theirs):
    inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, name="inside")], name="inner")
    image = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization(scale=False, name="norm")(inner(image))
    x = keras.layers.Dense(2, name="b")(keras.layers.Dense(3, name="a")(x))
    model = keras.Model(image, keras.layers.SeparableConv2D(2, 3, name="separable")(x))
    model.save(tmp_path / "new.keras")
    with zipfile.ZipFile(tmp_path / "new.keras") as archive:
        parts = {name: archive.read(name) for name in ("config.json", "model.weights.h5")}
    content = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(content, "r+") as file:
        file.visititems(lambda path, item: item.attrs.pop("name", None) and None)
    (tmp_path / "old.weights.h5").write_bytes(content.getvalue())
    with zipfile.ZipFile(tmp_path / "old.keras", "w") as archive:
        archive.writestr("config.json", parts["config.json"])
        archive.writestr("model.weights.h5", content.getvalue())
    new, old = (h5_file.read(tmp_path / f"{age}.keras") for age in ("new", "old"))
    assert set(new) == {variable.path.removeprefix("inner/") for variable in model.variables}
    assert set(old) == set(new)
    for name, array in new.items():
        np.testing.assert_array_equal(old[name], array)
    with pytest.raises(
        BadFile, match="an older Keras has saved it, without names of layers; save it there as .keras"
    ):
        h5_file.read(tmp_path / "old.weights.h5")


def test_every_layer_of_the_zoo_is_named_in_keras_3_files():
    kinds = {"Conv2D": "conv2d", "DepthwiseConv2D": "depthwise_conv2d", "LayerNorm": "layer_norm"}
    kinds |= {"ClassToken": "class_token", "PositionEmbedding": "position_embedding", "Dense": "dense"}
    kinds |= {"RelativePositionBias": "relative_position_bias", "BatchNormalization": "batch_normalization"}
    for layer, variables in weights._TORCH.items():
        assert h5_file._VARIABLES[kinds[layer]] == tuple(variables)


def test_weights_in_half_of_float32_are_read(tmp_path):
    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Dense(3, dtype="bfloat16", name="dense")(image))
    model.save_weights(tmp_path / "net.weights.h5")
    kernel = weights.read(tmp_path / "net.weights.h5")["dense/kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, np.asarray(model.layers[1].kernel, np.float32))


@pytest.mark.parametrize("stream", [False, True])
def test_a_file_of_torch_gives_the_golden_logits(tmp_path, stream):
    manifest, expected = goldens.load("mobilenetv1_025")
    tensors = {f"module.{name}": value for name, value in goldens.tensors(manifest).items()}
    path = torch_files.save(tmp_path / "net.pth", tensors, stream=stream)
    size = manifest["input_size"][0]
    model = builder.build("mobilenet_v1_025.timm", weights=path, input_size=size)
    got = np.asarray(model(goldens.image(size), training=False))
    assert goldens.spread(got, expected) < goldens.TOLERANCE


def test_the_classifier_of_every_row_is_known():
    for row in registry.rows():
        layer = "classifier_conv" if row.name.startswith("squeezenet") else "classifier"
        module = row.source_name(layer)
        name, shape = (
            (f"{module}.weight", (9, 4)) if row.layout == "torch" else (f"{module}/kernel", (1, 1, 4, 9))
        )
        assert weights.classes({name: np.zeros(shape)}, row, None) == 9
        assert weights.classes({f"{layer}/kernel": np.zeros((4, 9))}, row, None) == 9
        assert weights.classes({}, row, None) == row.classes
        assert weights.classes({}, row, 3) == 3


def safetensors(path, header, content=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return path


def test_safetensors_are_read_as_they_were_saved(tmp_path):
    kinds = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
    arrays = {kind: np.arange(6).reshape(2, 3).astype(kind) for kind in kinds}
    arrays |= {"scalar": np.array(3.0), "empty": np.zeros((0, 2), np.float32)}
    save_file(arrays, tmp_path / "net.safetensors", metadata={"format": "pt"})
    found = weights.read(tmp_path / "net.safetensors")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_safetensors_of_bfloat16_become_float32(tmp_path):
    entry = {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}
    path = safetensors(tmp_path / "net.safetensors", {"module.a": entry}, b"\x80\x3f\x00\xc0")
    np.testing.assert_array_equal(weights.read(path)["a"], np.array([1, -2], np.float32))


TERA = 1 << 40


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (
            {"a": {"dtype": "F32", "shape": [TERA], "data_offsets": [0, 4 * TERA]}},
            "claims 4,398,046,511,104 bytes",
        ),
        (
            {"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}},
            "claims 8 bytes from byte 74 on, of 78",
        ),
        (
            {"a": {"dtype": "F32", "shape": [2], "data_offsets": [-9, -1]}},
            "a of shape (2,) lies in the bytes -9 to -1",
        ),
        (
            {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}},
            "a of shape (1,) lies in the bytes 0 to 8",
        ),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}}, "claims -4 bytes"),
        (
            {"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 8]}},
            "a is of type F4; known are F64, F32, F16, BF16",
        ),
        ({"a": {"dtype": "F32", "shape": ["2"], "data_offsets": [0, 8]}}, ""),
        ({"a": {"dtype": "F32", "shape": [2]}}, "data_offsets"),
        ({"a": 1}, ""),
        ([1], ""),
        (b"[" * 100_000, ""),
        (b"{", ""),
    ],
)
def test_safetensors_that_claim_too_much_are_refused(tmp_path, header, reason):
    path = safetensors(tmp_path / "net.safetensors", header, bytes(8))
    with pytest.raises(BadFile, match="^net.safetensors cannot be read as safetensors: ") as caught:
        weights.read(path)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [16, 100_000_001, (1 << 64) - 1])
def test_a_header_that_claims_too_much_is_refused(tmp_path, length):
    (tmp_path / "net.safetensors").write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(BadFile, match="claims"):
        weights.read(tmp_path / "net.safetensors")


def keras_2(path, change):
    """A file of one dense layer, after `change` to its group."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        group = file.create_group("dense")
        group.attrs["weight_names"] = [b"dense/kernel:0"]
        group.create_group("dense")
        change(group)
    return path


def external(group):
    group["dense"].create_dataset("kernel:0", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def virtual(group):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "a", (4,))
    group["dense"].create_virtual_dataset("kernel:0", layout)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda g: g["dense"].create_dataset("kernel:0", (TERA,), "f4"),
            "claims 4,398,046,511,104 bytes and has 0",
        ),
        (lambda g: g["dense"].create_dataset("kernel:0", (TERA,), "f4", chunks=(9,)), "bytes and has 0"),
        (
            lambda g: g["dense"].create_dataset("kernel:0", data=np.zeros(10**6), compression=9),
            "claims 8,000,000 bytes and",
        ),
        (external, "claims 16 bytes and has 16"),
        (virtual, "claims 16 bytes and has"),
        (
            lambda g: g["dense"].create_dataset("kernel:0", data="text"),
            "dense/dense/kernel:0 is of type object",
        ),
        (
            lambda g: g.__setitem__("dense/kernel:0", h5py.ExternalLink("other.h5", "/a")),
            "dense/dense/kernel:0",
        ),
        (lambda g: g.__setitem__("dense/kernel:0", h5py.SoftLink("/dense")), "dense/dense/kernel:0"),
        (lambda g: g.attrs.__delitem__("weight_names"), "it has neither layers nor weight_names"),
        (lambda g: None, "dense/dense/kernel:0"),
    ],
)
def test_h5_files_that_claim_too_much_or_lead_elsewhere_are_refused(tmp_path, change, reason):
    path = keras_2(tmp_path / "net.h5", change)
    assert path.stat().st_size < 100_000
    with pytest.raises(BadFile, match="^net.h5 cannot be read as weights of Keras: ") as caught:
        weights.read(path)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_compressed_weights_are_read(tmp_path):
    values = np.arange(100.0)
    path = keras_2(
        tmp_path / "net.h5", lambda g: g["dense"].create_dataset("kernel:0", data=values, compression=9)
    )
    np.testing.assert_array_equal(weights.read(path)["dense/kernel"], values)


def test_names_that_are_too_long_for_one_attribute_are_joined(tmp_path):
    path = keras_2(tmp_path / "net.h5", lambda g: g["dense"].create_dataset("kernel:0", data=np.ones(3)))
    with h5py.File(path, "r+") as file:
        del file.attrs["layer_names"]
        file.create_group("flatten").attrs["weight_names"] = []
        file.attrs["layer_names0"], file.attrs["layer_names1"] = [b"flatten"], [b"dense"]
    assert list(weights.read(path)) == ["dense/kernel"]


def test_a_keras_file_without_weights_is_told_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"config": {"layers": []}}))
    with pytest.raises(BadFile, match=r"no item named 'model.weights.h5'"):
        weights.read(tmp_path / "net.keras")
    with zipfile.ZipFile(tmp_path / "net.keras", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(1000))
    with pytest.raises(BadFile, match=r"model.weights.h5 is compressed; unpack it and zip it with -0"):
        weights.read(tmp_path / "net.keras")
