"""How pictures become the input of a user's model: what `--preprocess` takes, and what first layers show."""

import dataclasses
import zipfile

import numpy as np
import onnx
import pytest
import tiny
from onnx import TensorProto, helper, numpy_helper

from edgecls import registry
from edgecls.errors import BadFile, UnknownName, UsageError
from edgecls.exporters import preprocessing
from edgecls.exporters.preprocessing import parse, takes_pixels
from edgecls.spec import PREPROCESS, Preprocess

TORCH = PREPROCESS["torch"]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("torch", TORCH),
        (["torch"], TORCH),
        (TORCH.at(96), TORCH.at(96)),
        ("like:lenet5", registry.get("lenet5").preprocess),
        (["torch", "resize=232"], dataclasses.replace(TORCH, resize=232)),
        (["torch", "interpolation=bicubic", "color=bgr"], dataclasses.replace(TORCH, interpolation="bicubic", color="bgr")),
        (["mean=123.675,116.28,103.53", "std=58.395,57.12,57.375"], TORCH),
        (["mean=0.485,0.456,0.406", "std=0.229,0.224,0.225"], TORCH),
        (["mean=0.5", "std=0.5"], PREPROCESS["tf"]),
        (["mean=127.5,127.5,127.5", "std=127.5"], PREPROCESS["tf"]),
        (["mean=0", "std=1"], PREPROCESS["none"]),
        (["mean=0", "std=255"], PREPROCESS["unit"]),
        (["unit", "crop=300", "resize=300"], dataclasses.replace(PREPROCESS["unit"], crop=300, resize=300)),
        (
            ["color=gray", "mean=0.1307", "std=0.3081"],
            Preprocess(resize=256, crop=224, mean=(255 * 0.1307,), std=(255 * 0.3081,), color="gray"),
        ),
        (["tf", "color=gray"], Preprocess(resize=256, crop=224, mean=(127.5,), std=(127.5,), color="gray")),
    ],
)
def test_preprocessing_as_a_user_says_it(said, wanted):
    found = parse(said)
    assert found.mean == pytest.approx(wanted.mean) and found.std == pytest.approx(wanted.std)
    assert dataclasses.replace(found, mean=wanted.mean, std=wanted.std) == wanted


def test_what_is_known_stays_where_nothing_else_is_said():
    known = PREPROCESS["none"].at(96)
    assert parse(None) is None
    assert parse(None, known) is known
    assert parse("tf", known) == PREPROCESS["tf"]
    assert parse(["interpolation=bicubic"], known) == dataclasses.replace(known, interpolation="bicubic")


SAME_PIXELS = "--preprocess mean and std are not of the same pixels; give both of 0..255 or both of 0..1"


@pytest.mark.parametrize(
    ("said", "kind", "reason"),
    [
        ("pytorch", UnknownName, "unknown preprocessing 'pytorch'; did you mean torch?"),
        ("like:nothing", UnknownName, "unknown architecture 'nothing'"),
        ("", UnknownName, "unknown preprocessing ''; valid are KEY=VALUE, caffe, like:NAME, none, tf, torch, unit"),
        (["men=1"], UnknownName, "unknown key of --preprocess 'men'; did you mean mean?"),
        (["torch", "interpolation=cubic"], UnknownName, "unknown interpolation of --preprocess 'cubic'; did you mean bi"),
        (["torch", "color=grey"], UnknownName, "unknown color of --preprocess 'grey'; did you mean gray?"),
        (["mean=0.5"], UsageError, "--preprocess mean=0.5 is not enough; give mean and std, or a name such as torch before"),
        (["resize=232"], UsageError, "--preprocess resize=232 is not enough; give mean and std"),
        (["torch", "tf"], UsageError, "--preprocess tf comes behind others; give a name first, and one at most"),
        (["mean=0", "tf"], UsageError, "--preprocess tf comes behind others; give a name first, and one at most"),
        (["torch", "mean=1", "mean=2"], UsageError, "--preprocess mean is given twice"),
        (["mean=a", "std=1"], UsageError, "--preprocess mean=a: expected numbers of pixels 0..255 with commas between, su"),
        (["mean=", "std=1"], UsageError, "--preprocess mean=: expected numbers of pixels 0..255 with commas between"),
        (["mean=nan", "std=1"], UsageError, "--preprocess mean=nan: expected numbers of pixels 0..255"),
        (["mean=-3", "std=1"], UsageError, "--preprocess mean=-3: expected numbers of pixels 0..255"),
        (["mean=0", "std=0"], UsageError, "--preprocess std=0: expected numbers of pixels 0..255 with commas between, none"),
        (["mean=1,2", "std=2"], UsageError, "--preprocess mean has 2 numbers, the picture 3 channels"),
        (["torch", "color=gray"], UsageError, "--preprocess mean has 3 numbers, the picture 1 channels"),
        (["mean=0.485", "std=58"], UsageError, SAME_PIXELS),
        (["mean=124", "std=0.229"], UsageError, SAME_PIXELS),
        (["mean=300", "std=58"], UsageError, SAME_PIXELS),
        (["torch", "crop=1.5"], UsageError, "--preprocess crop=1.5: expected a number of pixels"),
        (["torch", "resize=0"], UsageError, "--preprocess resize=0: expected a number of pixels"),
        (["torch", "crop=300"], UsageError, "--preprocess: a crop of 300 pixels does not fit a short side of 256; give res"),
    ],
)
def test_what_is_no_preprocessing_is_told_why(said, kind, reason):
    with pytest.raises(kind) as caught:
        parse(said)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(reason) and "\n" not in str(caught.value)


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    "steps",
    [
        [(1 / 255, 0)],
        [(1 / 127.5, -1)],
        [(1 / 128, 0), (1, -1)],
        [(1 / 255, 0), (1, [-m for m in MEAN]), ([1 / s for s in STD], 0)],
        [([1 / (255 * s) for s in STD], [-m / s for m, s in zip(MEAN, STD, strict=True)])],
        [(1, [-103.939, -116.779, -123.68])],
    ],
)
def test_steps_that_only_pixels_go_through(steps):
    assert takes_pixels(steps)


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [(2, -1)],  # of 0..1
        [(1, [-m for m in MEAN]), ([1 / s for s in STD], 0)],  # of 0..1
        [(0.5, 0.5)],  # of -1..1
        [(1 / 6, 0)],  # of what a hard swish does
        [(1, -3)],
        [(1 / 6e4, 0)],
        [(0, 0)],
    ],
)
def test_steps_that_do_not_say_it_for_sure(steps):
    assert not takes_pixels(steps)


def onnx_file(path, *ops, axes=(1, 3, 1, 1)):
    """`ops` on a picture, (op, constant, whether the constant comes first) each, then a convolution."""
    nodes, constants, last = [], [numpy_helper.from_array(np.ones((2, 3, 4, 4), np.float32), "kernel")], "image"
    for place, (kind, value, *first) in enumerate(ops):
        inputs = [last]
        if value is not None:
            array = np.array(value, np.float32).reshape(axes if np.ndim(value) else ())
            constants.append(numpy_helper.from_array(array, f"constant{place}"))
            inputs = [f"constant{place}", last] if first else [last, f"constant{place}"]
        nodes.append(helper.make_node(kind, inputs, [f"step{place}"]))
        last = f"step{place}"
    nodes.append(helper.make_node("Conv", [last, "kernel"], ["logits"]))
    ends = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 4, 4])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, 1, 1])]
    graph = helper.make_graph(nodes, "net", ends, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("ops", "sure"),
    [
        ([("Div", 255.0)], True),
        ([("Mul", 1 / 127.5), ("Add", -1.0)], True),
        ([("Identity", None), ("Div", 255.0), ("Sub", MEAN), ("Div", STD)], True),
        ([("Mul", 1 / 127.5, "first"), ("Sub", 1.0)], True),
        ([("Sub", MEAN), ("Div", STD)], False),
        ([("Div", 255.0, "first")], False),  # 255 over the picture
        ([("Relu", None), ("Div", 255.0)], False),
        ([], False),
    ],
)
def test_what_an_onnx_file_does_first_is_seen(tmp_path, ops, sure):
    path = onnx_file(tmp_path / "net.onnx", *ops)
    assert takes_pixels(preprocessing.first_steps(path)) is sure


def test_what_a_tflite_file_does_first_is_seen(tmp_path):
    path = tiny.save_tflite(tmp_path / "net.tflite")
    assert list(preprocessing.first_steps(path)) == []


@pytest.mark.parametrize("name", ["net.tflite", "net.onnx"])
@pytest.mark.parametrize("content", [b"", b"not one"])
def test_nothing_is_known_of_a_damaged_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert list(preprocessing.first_steps(tmp_path / name)) == []


def test_nothing_is_known_of_a_saved_model(tmp_path):
    assert list(preprocessing.first_steps(tmp_path)) == []


@pytest.mark.parametrize("config", ["[]", "{}", '{"config": {"layers": [3]}}', '{"config": {"layers": {"a": 1}}}'])
def test_a_keras_file_with_an_odd_configuration_tells_nothing(tmp_path, config):
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr("config.json", config)
    assert list(preprocessing.first_steps(tmp_path / "net.keras")) == []


def test_a_damaged_keras_file_is_told_so(tmp_path):
    (tmp_path / "net.keras").write_bytes(b"not a zip")
    with pytest.raises(BadFile, match="^net.keras is not a Keras model: "):
        list(preprocessing.first_steps(tmp_path / "net.keras"))
