"""Float .tflite and .onnx files from elsewhere: taken as they come, and quantized like our own."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny
from onnx import TensorProto, helper, numpy_helper

from edgecls import runtimes, verification
from edgecls.errors import BadFile, UsageError, WorkFailed
from edgecls.exporters import adoption, flatbuffer
from edgecls.exporters import onnx as onnx_exporter
from edgecls.exporters import tflite as tflite_exporter
from edgecls.graph import read

SIZE, CLASSES = 12, 5
ANY_NUMBER = "takes any number of pictures at once; the files made of it take one"


def ignore(event):
    pass


def torch_like(path, *, batch=1, opset=17, channels=3, size=(SIZE, SIZE), type=TensorProto.FLOAT, tail=None) -> Path:
    """What PyTorch exports of a small classifier: channels first, batch norm not folded, Flatten and Gemm.

    tail: an op between the last one and the output.
    """
    rng = np.random.default_rng(0)
    weights = {
        "conv.weight": rng.standard_normal((8, channels, 3, 3)) / 4,
        "bn.weight": rng.uniform(0.5, 2, 8),
        "bn.bias": rng.standard_normal(8) / 4,
        "bn.running_mean": rng.standard_normal(8) / 4,
        "bn.running_var": rng.uniform(0.5, 2, 8),
        "depthwise.weight": rng.standard_normal((8, 1, 3, 3)) / 2,
        "fc.weight": rng.standard_normal((CLASSES, 8)),
        "fc.bias": rng.standard_normal(CLASSES),
    }
    batch_norm = ["conv", *(f"bn.{name}" for name in ("weight", "bias", "running_mean", "running_var"))]
    nodes = [
        helper.make_node("Conv", ["input.1", "conv.weight"], ["conv"], strides=[2, 2], pads=[1] * 4, kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", batch_norm, ["bn"]),
        helper.make_node("Relu", ["bn"], ["relu"]),
        helper.make_node("Conv", ["relu", "depthwise.weight"], ["depthwise"], group=8, kernel_shape=[3, 3]),
        helper.make_node("GlobalAveragePool", ["depthwise"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["last" if tail else "495"], transB=1),
    ]
    if tail:
        nodes.append(helper.make_node(*tail, ["last"], ["495"]))
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("input.1", type, [batch, channels, *size])],
        [helper.make_tensor_value_info("495", type, [batch, CLASSES])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    ir_version = 4 if opset < 12 else 8
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version), path)
    return path


def pictures(channels=3, count=16, size=SIZE) -> np.ndarray:
    """Inputs, channels first, in [-1, 1]."""
    shape = (count, 1, channels, size, size)
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def answers(path, held) -> np.ndarray:
    return verification.logits(runtimes.open(path), held)


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 18, 20])
@pytest.mark.parametrize("batch", [1, "N"])
def test_an_onnx_file_from_elsewhere_is_taken_and_quantized(tmp_path, batch, opset):
    source, adopted = torch_like(tmp_path / "net.onnx", batch=batch, opset=opset), tmp_path / "fp32.onnx"
    facts = adoption.adopt_onnx(str(source), str(adopted), None, ignore)
    notes = [f"net.onnx {ANY_NUMBER}"] * (batch == "N")
    assert facts == {"classes": CLASSES, "input_size": (SIZE, SIZE), "channels": 3, "layout": "NCHW", "notes": notes}
    held = pictures()
    wanted = answers(source, held)
    assert np.ptp(wanted, axis=0).min() > 0.05
    assert answers(adopted, held) == pytest.approx(wanted, abs=1e-5)
    graph = read(adopted)
    assert [(end.name, end.shape) for end in (*graph.inputs, *graph.outputs)] == [
        ("image", (1, 3, SIZE, SIZE)),
        ("logits", (1, CLASSES)),
    ]
    assert not any(graph.dynamic.values())
    assert "BatchNormalization" not in {op.kind for op in graph.ops}
    np.save(tmp_path / "pictures.npy", held)
    for precision, least in (("fp16", 50), ("int8", 20)):
        target = tmp_path / f"{precision}.onnx"
        onnx_exporter.quantize(
            str(adopted), str(target), precision, str(tmp_path / "pictures.npy"), (-1.0, 1.0), "float32", ignore
        )
        onnx.checker.check_model(str(target))  # which also wants the nodes in order
        assert least < verification.sqnr_db(wanted, answers(target, held)) < 90
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fp16.onnx",
        "fp32.onnx",
        "int8.onnx",
        "net.onnx",
        "pictures.npy",
    ]


TORCH = Path(__file__).parent / "data" / "torch_onnx"


@pytest.mark.parametrize("name", sorted(path.name for path in TORCH.glob("*.onnx")))
def test_a_file_that_pytorch_exported_answers_as_pytorch(tmp_path, name):
    """Convolutions, one of them depthwise, batch norm, hard swish, ReLU6, squeeze and excitation, GELU, mean, dense."""
    with np.load(TORCH / "answers.npz") as file:
        held, wanted = file["pictures"][:, None], file["logits"]
    adopted, target = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    any_size = name in ("script-11.onnx", "script-17.onnx", "script-20.onnx")
    facts = adoption.adopt_onnx(str(TORCH / name), str(adopted), 16 if any_size else None, ignore)
    assert (facts["classes"], facts["input_size"], facts["layout"]) == (5, (16, 16), "NCHW")
    notes = [f"{name} {ANY_NUMBER}"] * ("inputs" not in name)
    assert facts["notes"] == notes + [f"{name} takes pictures of any size; the files made of it take 16x16"] * any_size
    assert answers(adopted, held) == pytest.approx(wanted, abs=1e-5)
    graph = read(adopted)
    assert not any(graph.dynamic.values()) and graph.outputs[0].shape == (1, 5)
    assert sum(op.kind == "BatchNormalization" for op in graph.ops) == 1  # the one behind the mean
    np.save(tmp_path / "pictures.npy", pictures(size=16))
    arguments = str(adopted), str(target), "int8", str(tmp_path / "pictures.npy"), (-1.0, 1.0), "float32", ignore
    onnx_exporter.quantize(*arguments)
    assert 20 < verification.sqnr_db(wanted, answers(target, held)) < 60


def changed(path, change) -> Path:
    """A torch-like file after `change` of its graph."""
    model = onnx.load(torch_like(path))
    change(model.graph)
    onnx.save(model, path)
    return path


def with_chains(graph):
    """Weights behind Identity nodes, as PyTorch has those that layers share, and one before the output."""
    for node in graph.node:
        node.output[:] = ["last" if name == "495" else name for name in node.output]
    for tensor in list(graph.initializer):
        source = tensor.name
        for step in ("one", "two"):
            graph.node.insert(0 if step == "one" else 1, helper.make_node("Identity", [source], [f"{tensor.name}/{step}"]))
            source = f"{tensor.name}/{step}"
        for node in graph.node:
            if node.op_type != "Identity":
                node.input[:] = [source if name == tensor.name else name for name in node.input]
    graph.node.append(helper.make_node("Identity", ["last"], ["495"]))


def with_computed_shape(graph):
    """`x.view(x.size(0), -1)` in place of Flatten."""
    place = next(place for place, node in enumerate(graph.node) if node.op_type == "Flatten")
    graph.node.remove(graph.node[place])
    constants = {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])}
    graph.initializer.extend(numpy_helper.from_array(value.astype(np.int64), name) for name, value in constants.items())
    nodes = [
        helper.make_node("Shape", ["pool"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "axis"], ["row"]),
        helper.make_node("Concat", ["row", "rest"], ["view"], axis=0),
        helper.make_node("Reshape", ["pool", "view"], ["flat"]),
    ]
    for offset, node in enumerate(nodes):
        graph.node.insert(place + offset, node)


def with_our_names(graph):
    """Inner tensors that have the names we give the ends."""
    names = {"relu": "logits", "pool": "image"}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


@pytest.mark.parametrize("change", [with_chains, with_computed_shape, with_our_names])
def test_an_onnx_file_of_another_hand_is_the_same_in_the_end(tmp_path, change):
    plain, other = tmp_path / "plain.onnx", tmp_path / "other.onnx"
    adoption.adopt_onnx(str(torch_like(tmp_path / "net.onnx")), str(plain), None, ignore)
    adoption.adopt_onnx(str(changed(tmp_path / "odd.onnx", change)), str(other), None, ignore)
    assert answers(other, pictures()) == pytest.approx(answers(plain, pictures()), abs=1e-6)
    kinds = [[op.kind.replace("Reshape", "Flatten") for op in read(path).ops] for path in (plain, other)]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("location", ["net.onnx.data", "weights.bin"])
def test_weights_beside_an_onnx_file_go_into_ours(tmp_path, location):
    source = torch_like(tmp_path / "net.onnx")
    wanted = answers(source, pictures())
    onnx.save(onnx.load(source), source, save_as_external_data=True, location=location, size_threshold=0)
    (tmp_path / "out").mkdir()
    adoption.adopt_onnx(str(source), str(tmp_path / "out" / "fp32.onnx"), None, ignore)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["fp32.onnx"]
    (tmp_path / location).unlink()
    assert answers(tmp_path / "out" / "fp32.onnx", pictures()) == pytest.approx(wanted, abs=1e-5)
    with pytest.raises(BadFile, match=rf"^net.onnx is not a valid .onnx file: .*{location}") as caught:
        adoption.adopt_onnx(str(source), str(tmp_path / "out" / "again.onnx"), None, ignore)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("tail", "function"), [(["Softmax"], "softmax"), (["Sigmoid"], "sigmoid"), (["Relu"], None)])
def test_an_onnx_file_that_gives_probabilities_is_said_to(tmp_path, tail, function):
    facts = adoption.adopt_onnx(
        str(torch_like(tmp_path / "net.onnx", tail=tail)), str(tmp_path / "fp32.onnx"), None, ignore
    )
    assert facts["notes"] == [f"net.onnx ends in a {function}: it gives probabilities, not logits"] * bool(function)


@pytest.mark.parametrize(("then", "function"), [("LOGISTIC", "sigmoid"), ("FLOOR", None)])
def test_a_tflite_file_that_gives_probabilities_is_said_to(tmp_path, then, function):
    source = tiny.save_tflite(tmp_path / "net.tflite", input_shape=(1, 1, 1, 3), then=then)
    facts = adoption.adopt_tflite(str(source), str(tmp_path / "fp32.tflite"), None, ignore)
    assert facts["notes"] == [f"net.tflite ends in a {function}: it gives probabilities, not logits"] * bool(function)


def test_one_number_is_said_not_to_be_judged_by_its_class(tmp_path):
    source = tiny.save_tflite(tmp_path / "net.tflite", input_shape=(1, 1, 1, 3), filters=1)
    facts = adoption.adopt_tflite(str(source), str(tmp_path / "fp32.tflite"), None, ignore)
    assert facts["classes"] == 1
    assert facts["notes"] == ["net.tflite gives one number, not one for each class: `top-1 same` says nothing of it"]


def test_an_onnx_file_of_any_size_takes_the_one_asked_for(tmp_path):
    source, adopted = torch_like(tmp_path / "net.onnx", size=("H", "W")), tmp_path / "fp32.onnx"
    facts = adoption.adopt_onnx(str(source), str(adopted), 20, ignore)
    assert facts["input_size"] == (20, 20)
    assert facts["notes"] == ["net.onnx takes pictures of any size; the files made of it take 20x20"]
    held = pictures(size=20)
    wanted = verification.logits(runtimes.open(source, size=20), held)
    assert answers(adopted, held) == pytest.approx(wanted, abs=1e-5)


def test_an_onnx_file_of_another_size_is_told_why(tmp_path):
    source = torch_like(tmp_path / "net.onnx")
    with pytest.raises(UsageError, match="^--input-size 20 is not to be had: net.onnx takes pictures of 12x12 alone$"):
        adoption.adopt_onnx(str(source), str(tmp_path / "fp32.onnx"), 20, ignore)


def test_a_size_that_an_onnx_file_cannot_take_is_told_why(tmp_path):
    source = torch_like(tmp_path / "net.onnx", size=("H", "W"))
    model = onnx.load(source)
    pool = next(node for node in model.graph.node if node.op_type == "GlobalAveragePool")
    pool.CopyFrom(helper.make_node("AveragePool", list(pool.input), list(pool.output), kernel_shape=[4, 4]))
    onnx.save(model, source)  # which leaves one pixel of 12x12, and more of 20x20
    adoption.adopt_onnx(str(source), str(tmp_path / "fp32.onnx"), 12, ignore)
    with pytest.raises(UsageError, match=r"^net.onnx cannot be taken with pictures of \(1, 3, 20, 20\): ") as caught:
        adoption.adopt_onnx(str(source), str(tmp_path / "other.onnx"), 20, ignore)
    assert "\n" not in str(caught.value)


def test_a_gray_onnx_file(tmp_path):
    source = torch_like(tmp_path / "net.onnx", channels=1)
    facts = adoption.adopt_onnx(str(source), str(tmp_path / "fp32.onnx"), None, ignore)
    assert (facts["channels"], facts["layout"]) == (1, "NCHW")


@pytest.fixture
def int8(tmp_path):
    """Makes the int8 file of the torch-like one; returns its path and how its ends are quantized."""

    def make(io="float32", input_range=(-1.0, 1.0), calibration=None):
        source, adopted, target = (tmp_path / f"{name}.onnx" for name in ("net", "fp32", "int8"))
        adoption.adopt_onnx(str(torch_like(source)), str(adopted), None, ignore)
        np.save(tmp_path / "pictures.npy", pictures() if calibration is None else calibration)
        arguments = str(adopted), str(target), "int8", str(tmp_path / "pictures.npy"), input_range, io
        return target, onnx_exporter.quantize(*arguments, ignore)["ends"]

    return make


def constants(path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def test_onnx_weights_are_int8_per_filter_and_activations_uint8(int8):
    path, _ = int8()
    values, graph = constants(path), onnx.load(path).graph
    writers = {node.output[0]: node for node in graph.node}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            activation, kernel = (writers[name] for name in node.input[:2])
            assert activation.op_type == kernel.op_type == "DequantizeLinear"
            assert values[kernel.input[0]].dtype == np.int8 and len(values[kernel.input[1]]) in (8, CLASSES)
            assert not values[kernel.input[2]].any()  # symmetric
            assert values[activation.input[2]].dtype == np.uint8 and values[activation.input[1]].ndim == 0
    assert sum(node.op_type in ("Conv", "Gemm") for node in graph.node) == 3


def test_onnx_input_has_the_range_that_pictures_can_have(int8):
    path, _ = int8(calibration=pictures() / 10)
    (enter,) = (node for node in onnx.load(path).graph.node if node.input[0] == "image")
    values = constants(path)
    assert enter.op_type == "QuantizeLinear"
    assert (values[enter.input[1]], values[enter.input[2]]) == (pytest.approx(2 / 255), 128)


def test_onnx_input_has_the_range_of_the_pictures_where_no_other_is_known(int8):
    path, _ = int8(input_range=None, calibration=pictures() / 10)
    (enter,) = (node for node in onnx.load(path).graph.node if node.input[0] == "image")
    assert constants(path)[enter.input[1]] == pytest.approx(0.2 / 255, rel=0.01)


def test_onnx_uint8_ends_are_the_float_ends_quantized(int8):
    path, nothing = int8()
    wanted = answers(path, pictures())
    path, ends = int8("uint8")
    session = runtimes.open(path)
    assert nothing == {} and set(ends) == {"image", "logits"}
    assert [end.dtype for end in (*session.inputs, *session.outputs)] == ["uint8", "uint8"]
    told = {name: runtimes.base.TensorInfo(**end) for name, end in ends.items()}
    assert verification.logits(session, pictures(), ends=told) == pytest.approx(wanted, abs=1e-5)


def test_fp16_halves_the_weights(tmp_path):
    source, target = torch_like(tmp_path / "net.onnx"), tmp_path / "fp16.onnx"
    onnx_exporter.quantize(str(source), str(target), "fp16", None, None, "float32", ignore)
    assert {value.dtype.name for value in constants(target).values()} == {"float16"}
    source, target = tmp_path / "net.tflite", tmp_path / "fp16.tflite"
    tiny.save_tflite(source, input_shape=(1, 8, 8, 3), filters=4000)
    tflite_exporter.quantize(str(source), str(target), "fp16", None, None, "float32", ignore)
    kernels = [read(path).tensors["weights"].nbytes for path in (source, target)]
    assert kernels == [48000, 24000]
    assert 23000 < source.stat().st_size - target.stat().st_size < 25000
    held = pictures(size=8).transpose(0, 1, 3, 4, 2)
    assert 55 < verification.sqnr_db(answers(source, held), answers(target, held)) < 90


def test_a_tflite_file_of_an_open_batch_gets_one_picture(tmp_path):
    source = tiny.save_tflite(tmp_path / "net.tflite", input_shape=(1, 1, 1, 3), open_axes=(0,))
    assert read(source).dynamic == {"image": (0,)}
    facts = adoption.adopt_tflite(str(source), str(tmp_path / "fp32.tflite"), None, ignore)
    notes = [f"net.tflite {ANY_NUMBER}"]
    assert facts == {"classes": 2, "input_size": (1, 1), "channels": 3, "layout": "NHWC", "notes": notes}
    assert not any(read(tmp_path / "fp32.tflite").dynamic.values())


def test_calibration_that_overflows_is_an_error_that_names_the_tensor(tmp_path):
    source = tiny.save_tflite(tmp_path / "net.tflite", input_shape=(1, 1, 1, 3))
    adoption.adopt_tflite(str(source), str(tmp_path / "fp32.tflite"), None, ignore)
    np.save(tmp_path / "pictures.npy", np.full((2, 1, 1, 1, 3), 3e38, np.float32))
    with pytest.raises(WorkFailed, match="computes an infinity in 'logits', the first layer that does"):
        tflite_exporter.quantize(
            *(str(tmp_path / name) for name in ("fp32.tflite", "int8.tflite")),
            "int8",
            str(tmp_path / "pictures.npy"),
            None,
            "uint8",
            ignore,
        )


def two_inputs(path):
    add = helper.make_node("Add", ["one", "two"], ["sum"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 4]) for name in ("one", "two", "sum")]
    graph = helper.make_graph([add], "two", ends[:2], ends[2:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def already_int8(path):
    source = torch_like(path.with_name("float.onnx"))
    adoption.adopt_onnx(str(source), str(path), None, ignore)
    np.save(path.with_name("pictures.npy"), pictures())
    onnx_exporter.quantize(str(path), str(path), "int8", str(path.with_name("pictures.npy")), None, "float32", ignore)


def already_fp16(path):
    source = torch_like(path.with_name("float.onnx"))
    onnx_exporter.quantize(str(source), str(path), "fp16", None, None, "float32", ignore)


def with_unknown_op(path):
    tiny.save_onnx(path, input_shape=(1, 3, 1, 1), node=helper.make_node("Fancy", ["image"], ["logits"], domain="acme"), domain="acme")


def cut_short(path):
    content = torch_like(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])


QUANTIZED = "is quantized already; give the float32 model it was made from"
HALF = "is in float16; give the float32 model it was made from"
ANY_SIZE = "takes pictures of any size; say which with --input-size"


@pytest.mark.parametrize(
    ("write", "kind", "reason"),
    [
        (lambda path: path.write_bytes(b""), BadFile, "is not a valid .onnx file"),
        (lambda path: path.write_bytes(b"not one" * 99), BadFile, "is not a valid .onnx file"),
        (cut_short, BadFile, "is not a valid .onnx file"),
        (two_inputs, UsageError, "has 2 inputs (one, two) and 1 output (sum); a classifier has one of each"),
        (already_int8, UsageError, QUANTIZED),
        (already_fp16, UsageError, HALF),
        (lambda path: torch_like(path, type=TensorProto.DOUBLE), UsageError, "takes float64 pictures, expected float32"),
        (lambda path: torch_like(path, type=TensorProto.UINT8), UsageError, "takes uint8 pictures, expected float32"),
        (lambda path: torch_like(path, batch=2), UsageError, "takes 2 pictures at once, expected 1 or any number"),
        (lambda path: torch_like(path, channels=4), UsageError, "takes input of shape (1, 4, 12, 12), expected a picture"),
        (lambda path: torch_like(path, size=(12, 16)), UsageError, "takes pictures of 12x16, expected a square: pictures"),
        (lambda path: torch_like(path, size=("H", "W")), UsageError, ANY_SIZE),
        (
            lambda path: tiny.save_onnx(path, input_shape=(1, 3, 4, 4)),
            UsageError,
            "gives output of shape (1, 2, 4, 4), expected (1, classes)",
        ),
        (with_unknown_op, WorkFailed, "ONNX Runtime refuses net.onnx: "),
    ],
)
def test_an_onnx_file_that_cannot_be_taken_is_told_why(tmp_path, write, kind, reason):
    refuses(adoption.adopt_onnx, tmp_path / "net.onnx", write, kind, reason)


def tflite_already(precision):
    def write(path):
        source, target = tiny.save_tflite(path.with_name("float.tflite"), input_shape=(1, 1, 1, 3)), path
        model = flatbuffer.unpack(source.read_bytes())
        flatbuffer.sign(model)
        flatbuffer.write(model, source)
        np.save(path.with_name("pictures.npy"), pictures(size=1).reshape(-1, 1, 1, 1, 3))
        tflite_exporter.quantize(
            str(source), str(target), precision, str(path.with_name("pictures.npy")), None, "float32", ignore
        )

    return write


def tflite_cut_short(path):
    content = tiny.save_tflite(path, input_shape=(1, 1, 1, 3)).read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("write", "kind", "reason"),
    [
        (lambda path: path.write_bytes(b""), BadFile, "is not a .tflite file"),
        (lambda path: path.write_bytes(b"\xff" * 999), BadFile, "is not a .tflite file"),
        (lambda path: path.write_bytes(b"GIF89a" + bytes(999)), BadFile, "is not a .tflite file"),
        (tflite_cut_short, BadFile, "is not a .tflite file"),
        (tflite_already("int8"), UsageError, QUANTIZED),
        (tflite_already("fp16"), UsageError, HALF),
        (
            lambda path: tiny.save_tflite(path, input_shape=(1, 1, 1, 3), then="FlexErf"),
            UsageError,
            "needs custom ops that phones have not: FlexErf",
        ),
        (
            lambda path: tiny.save_tflite(path, input_shape=(1, 4, 4, 3)),
            UsageError,
            "gives output of shape (1, 4, 4, 2), expected (1, classes)",
        ),
        (
            lambda path: tiny.save_tflite(path, input_shape=(1, 1, 1, 3), open_axes=(1, 2)),
            UsageError,
            ANY_SIZE,
        ),
    ],
)
def test_a_tflite_file_that_cannot_be_taken_is_told_why(tmp_path, write, kind, reason):
    refuses(adoption.adopt_tflite, tmp_path / "net.tflite", write, kind, reason)


def refuses(adopt, path, write, kind, reason):
    write(path)
    with pytest.raises(kind) as caught:
        adopt(str(path), str(path.with_name(f"fp32{path.suffix}")), None, ignore)
    assert type(caught.value) is kind
    assert str(caught.value).removeprefix(f"{path.name} ").startswith(reason)
    assert "\n" not in str(caught.value)
    assert not path.with_name(f"fp32{path.suffix}").exists()


def test_names_and_order_do_not_depend_on_what_they_were(tmp_path):
    """tf2onnx counts differently from run to run, and ONNX Runtime orders constants differently."""
    files = []
    for start, order in ((7, 1), (90, -1)):
        model = onnx.load(torch_like(tmp_path / "net.onnx"))
        inner = [node.output[0] for node in model.graph.node[:-1]]
        counted = {name: f"layer__{start + k}" for k, name in enumerate(inner)}
        for node in model.graph.node:
            node.input[:] = [counted.get(name, name) for name in node.input]
            node.output[:] = [counted.get(name, name) for name in node.output]
        constants = list(model.graph.initializer)[::order]
        del model.graph.initializer[:]
        model.graph.initializer.extend(constants)
        onnx.save(model, tmp_path / f"{start}.onnx")
        adoption.adopt_onnx(str(tmp_path / f"{start}.onnx"), str(tmp_path / f"settled-{start}.onnx"), None, ignore)
        files.append([(tmp_path / f"{kind}{start}.onnx").read_bytes() for kind in ("", "settled-")])
    (first, first_settled), (second, second_settled) = files
    assert first != second and first_settled == second_settled
