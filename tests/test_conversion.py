"""From Keras models to float files: nothing is lost on the way, and nothing odd is in them."""

import cProfile
from pathlib import Path

import nets
import numpy as np
import onnx as onnx_package
import pytest
from onnx import helper, numpy_helper

from edgecls import keras_file, runtimes, verification
from edgecls.errors import WorkFailed
from edgecls.exporters import _onnx_simplify, frozen, onnx, tflite
from edgecls.graph import read

@pytest.fixture(scope="module", params=[*nets.NETS, "saved_model"])
def case(request, tmp_path_factory):
    """(name, Keras model, frozen model, it as a function, a folder)"""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "saved_model":
        nets.nested().export(folder / "model", verbose=False)
        model, _ = keras_file.load(folder / "model")
    else:
        model = nets.NETS[request.param]()
    graph, run = frozen.freeze(model)
    return request.param, model, graph, run, folder


def wanted(model) -> np.ndarray:
    return np.concatenate([np.asarray(model(picture, training=False)) for picture in nets.pictures()])


def test_no_variable_and_no_call_is_left_in_a_frozen_model(case):
    _, _, graph, _, _ = case
    ops = {node.op for node in graph.graph.node}
    assert {"Conv2D", "MatMul", "Placeholder"} <= ops
    assert not [op for op in ops if "Variable" in op or "VarHandle" in op or "Call" in op]
    assert not graph.graph.library.function


def test_every_weight_is_a_placeholder_and_there_are_no_others(case):
    _, model, graph, _, _ = case
    placeholders = {node.name for node in graph.graph.node if node.op == "Placeholder"}
    assert placeholders == {*graph.weights, frozen.INPUT}
    assert sum(value.size for value in graph.weights.values()) >= model.count_params()
    assert (graph.input_shape, graph.output_shape) == ((1, nets.SIZE, nets.SIZE, 3), (1, nets.CLASSES))


def test_weights_put_in_again_are_all_there(case):
    _, _, graph, _, _ = case
    whole = frozen.with_constants(graph)
    assert {node.name for node in whole.node if node.op == "Placeholder"} == {frozen.INPUT}
    assert whole.ByteSize() > sum(value.nbytes for value in graph.weights.values())


def test_the_frozen_model_computes_what_the_model_computes(case):
    import tensorflow as tf

    _, model, graph, run, _ = case
    assert np.concatenate([run(picture) for picture in nets.pictures()]) == pytest.approx(wanted(model), abs=1e-5)
    with tf.Graph().as_default() as alone, tf.compat.v1.Session(graph=alone) as session:
        tf.import_graph_def(frozen.with_constants(graph), name="")
        found = [session.run("logits:0", {"image:0": picture}) for picture in nets.pictures()]
    assert np.concatenate(found) == pytest.approx(wanted(model), abs=1e-5)


@pytest.fixture(scope="module")
def files(case) -> dict[str, Path]:
    _, _, graph, _, folder = case
    paths = {format: folder / f"fp32.{format}" for format in ("tflite", "onnx")}
    tflite.convert(graph, paths["tflite"])
    onnx.convert(graph, folder / "skeleton.onnx", folder / "kernels")
    onnx.join(folder / "skeleton.onnx", folder / "kernels", paths["onnx"])
    return paths


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_float_file_computes_what_the_model_computes(case, files, format):
    name, model, *_ = case
    found = verification.logits(runtimes.open(files[format]), nets.pictures())
    assert np.ptp(wanted(model), axis=0).min() > 1e-3  # or else a constant would do
    assert verification.sqnr_db(wanted(model), found) > 100, name


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_float_file_has_named_ends_of_fixed_size_and_standard_ops_alone(files, format):
    graph = read(files[format])
    assert [(end.name, end.shape, end.dtype) for end in (*graph.inputs, *graph.outputs)] == [
        ("image", (1, nets.SIZE, nets.SIZE, 3), "float32"),
        ("logits", (1, nets.CLASSES), "float32"),
    ]
    assert not any(graph.dynamic.values())
    assert not [op.kind for op in graph.ops if op.custom or "." in op.kind]


def test_an_onnx_file_is_valid_and_of_the_standard_domain_alone(files):
    model = onnx_package.load(files["onnx"])
    onnx_package.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", onnx.OPSET)]
    assert {node.domain for node in model.graph.node} == {""}
    assert model.producer_name == "edgecls"


def test_an_onnx_file_turns_the_axes_once(files):
    kinds = [op.kind for op in read(files["onnx"]).ops]
    assert kinds.count("Transpose") <= 1
    assert "BatchNormalization" not in kinds


def test_the_work_of_a_conversion_grows_with_the_depth_not_with_its_square(tmp_path):
    import keras

    def calls(depth):
        x = image = keras.Input((8, 8, 3))
        for _ in range(depth):
            x = keras.layers.ReLU()(keras.layers.Conv2D(3, 3, padding="same", bias_initializer="ones")(x))
        graph, _ = frozen.freeze(keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x))))
        profile = cProfile.Profile()
        profile.runcall(onnx.convert, graph, tmp_path / "skeleton.onnx", tmp_path / "kernels")
        return sum(entry.callcount for entry in profile.getstats())

    calls(1)  # what is done once
    few, more, most = map(calls, (15, 30, 60))
    assert most - more < 2.1 * (more - few)


def test_readers_of_one_number_read_one_constant():
    """How many ONNX Runtime leaves differs from run to run."""
    values = {"a": 3, "b": 3, "c": 4, "d": [[3]], "e": [1, 1], "f": [1, 1]}
    constants = [numpy_helper.from_array(np.float32(value), name) for name, value in values.items()]
    nodes = [helper.make_node("Add", ["image", name], [f"{name}+"]) for name in values]
    graph = helper.make_graph(nodes, "graph", [], [], constants)
    _onnx_simplify._share_numbers(graph)
    assert [tensor.name for tensor in graph.initializer] == ["a", "c", "d", "e", "f"]
    assert [node.input[1] for node in graph.node] == ["a", "a", "c", "d", "e", "f"]


def test_nothing_is_left_beside_the_files(case, files):
    folder = case[-1]
    assert not [path.name for path in folder.iterdir() if "raw" in path.name or "partial" in path.name]


def test_an_op_that_a_format_has_not_is_named(tmp_path):
    import keras

    x = image = keras.Input((nets.SIZE, nets.SIZE, 3))
    x = keras.ops.erfinv(keras.layers.Conv2D(4, 3)(x) / 100)
    graph, _ = frozen.freeze(keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x))))
    with pytest.raises(WorkFailed, match=r"^TFLite has no op for TensorFlow's Erfinv; replace it in the model$"):
        tflite.convert(graph, tmp_path / "net.tflite")
    with pytest.raises(WorkFailed, match=r"^ONNX has no op for TensorFlow's Erfinv; replace it in the model$"):
        onnx.convert(graph, tmp_path / "skeleton.onnx", tmp_path / "kernels")
    assert list(tmp_path.iterdir()) == []


def test_constants_that_a_model_captures_are_weights(tmp_path):
    """As in keras.applications.EfficientNetB0, whose pixels are scaled by a list of numbers."""
    import keras

    x = image = keras.Input((nets.SIZE, nets.SIZE, 3))
    x = keras.layers.Rescaling([0.5, 0.25, 0.125])(x) * keras.ops.array([1.0, 2.0, 3.0])
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalMaxPooling2D()(x)))
    graph, run = frozen.freeze(model)
    placeholders = {node.name for node in graph.graph.node if node.op == "Placeholder"}
    assert placeholders == {*graph.weights, frozen.INPUT}
    tflite.convert(graph, tmp_path / "net.tflite")
    found = verification.logits(runtimes.open(tmp_path / "net.tflite"), nets.pictures())
    assert found == pytest.approx(wanted(model), abs=1e-5)


def test_what_does_not_depend_on_the_picture_is_computed_before(tmp_path):
    """As in vision transformers of Keras's examples, whose patches are cut with an identity matrix."""
    import keras

    x = image = keras.Input((nets.SIZE, nets.SIZE, 3))
    x = keras.ops.image.extract_patches(x, size=4)
    x = keras.layers.Dense(6)(keras.ops.reshape(x, (-1, 16, 48)))
    x = keras.ops.take(x, keras.ops.arange(0, 16, 3), axis=1)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(x)))
    graph, _ = frozen.freeze(model)
    assert not {"MatrixDiagV3", "Range", "Fill"} & {node.op for node in graph.graph.node}
    tflite.convert(graph, tmp_path / "net.tflite")
    kinds = {op.kind for op in read(tmp_path / "net.tflite").ops}
    assert kinds & {"MATRIX_DIAG", "RANGE"} == set()
    found = verification.logits(runtimes.open(tmp_path / "net.tflite"), nets.pictures())
    assert found == pytest.approx(wanted(model), abs=1e-5)
