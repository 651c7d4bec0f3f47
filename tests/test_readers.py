"""Readers that share no code with LiteRT and ONNX Runtime, or only the reference kernels, read every kind of file
that we make, and compute what these do."""

from pathlib import Path

import numpy as np
import pytest

import command
import peers
from edgecls import images, runtimes, verification
from edgecls.exporters.recipe import RECIPES
from edgecls.spec import PREPROCESS

REAL = Path(__file__).resolve().parent.parent.parent / "shared" / "real"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL.is_dir(), reason=f"no trained model and no photographs in {REAL}"),
]

#: Least signal to noise ratio of the answers, dB, against LiteRT or ONNX Runtime. They differ since
#: - float kernels sum in other orders;
#: - OpenVINO computes in float32 what ONNX Runtime does in float16;
#: - "dynamic": LiteRT rounds activations, OpenVINO does not;
#: - int8, int16x8: kernels round differently. LiteRT's own, XNNPACK's and the reference, are 25 dB apart in int8, so
#:   that TensorFlow Lite for Microcontrollers is held against the reference kernels, whose arithmetic it has.
AGREES = {
    ("openvino", "tflite-fp32"): 90,
    ("openvino", "tflite-fp16"): 90,
    ("openvino", "tflite-dynamic"): 25,
    ("openvino", "tflite-int8-weights"): 40,
    ("openvino", "tflite-int8"): 18,
    ("openvino", "tflite-int16x8"): 35,
    ("openvino", "onnx-fp32"): 90,
    ("openvino", "onnx-fp16"): 50,
    ("openvino", "onnx-int8"): 18,
    ("openvino", "onnx-int8-dynamic"): 60,
    ("tflite-micro", "tflite-fp32"): 90,
    ("tflite-micro", "tflite-int8"): 50,
    ("tflite-micro", "tflite-int16x8"): 70,
}
#: What is refused: microcontrollers know neither float16 nor float activations with int8 weights in one op.
REFUSES = {
    ("tflite-micro", "tflite-fp16"): "failed to allocate tensors",
    ("tflite-micro", "tflite-dynamic"): "failed to allocate tensors",
}
#: What is read wrongly: its DEQUANTIZE has one scale for all channels, and weights have one for each.
WRONG = {("tflite-micro", "tflite-int8-weights")}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Every kind of file of the trained MobileNetV2, by the name of its recipe."""
    out = tmp_path_factory.mktemp("readers")
    recipes = ",".join(dict.fromkeys(recipe.precision for recipe in RECIPES.values()))
    arguments = "--preprocess", "tf", "--recipe", recipes, "--calibration", REAL / "calibration", "--out", out
    done = command.edgecls("export", REAL / "mobilenet_v2_imagenet.keras", *arguments)
    assert done.returncode == 0, done.stderr
    folder = out / "mobilenet_v2_imagenet"
    return {
        name: folder / f"{folder.name}-{recipe.precision}.{recipe.format}" for name, recipe in RECIPES.items()
    }


@pytest.fixture(scope="module")
def pixels():
    return [images.pixels(path, PREPROCESS["tf"]) for path in images.pictures_in(REAL / "eval")[::40]]


def ours(path, inputs, reference):
    """(answers, the tensor that they are of), by LiteRT's reference kernels or as everybody runs it."""
    session = runtimes.open(path)
    if not reference:
        return np.stack([runtimes.run(session, [one])[0] for one in inputs]), session.outputs[0]
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for one in inputs:
        interpreter.set_tensor(source["index"], one)
        interpreter.invoke()
        answers.append(interpreter.get_tensor(sink["index"]))
    return np.stack(answers), session.outputs[0]


def agreement(reader, path, pixels, folder) -> float | str:
    """SQNR of the reader's answers against ours, dB, or why it refuses the file."""
    info = runtimes.open(path).inputs[0]
    inputs = np.stack(pixels)[:, None]
    if info.dtype == "float32":
        inputs = images.normalise(inputs, PREPROCESS["tf"])
    np.save(folder / "inputs.npy", inputs)
    job = {
        "reader": reader,
        "model": str(path),
        "inputs": str(folder / "inputs.npy"),
        "outputs": str(folder / "out.npy"),
    }
    (answer,) = peers.ask("readers", "reader_answers.py", [job])
    if "error" in answer:
        return answer["error"]
    expected, tensor = ours(path, inputs, reference=reader == "tflite-micro")
    found = np.load(folder / "out.npy").reshape(expected.shape)
    sqnr = verification.sqnr_db(
        verification.dequantized(expected, tensor), verification.dequantized(found, tensor)
    )
    return np.inf if sqnr is None else sqnr


def test_every_kind_of_file_is_given_to_every_reader_of_its_format():
    kinds = {("openvino", name) for name in RECIPES}
    kinds |= {("tflite-micro", name) for name, recipe in RECIPES.items() if recipe.format == "tflite"}
    assert sorted(kinds) == sorted([*AGREES, *REFUSES, *WRONG])


@pytest.mark.parametrize(("reader", "kind"), AGREES)
def test_others_compute_what_our_runtimes_do(exported, pixels, tmp_path, reader, kind):
    found = agreement(reader, exported[kind], pixels, tmp_path)
    assert not isinstance(found, str), found
    assert found >= AGREES[reader, kind]


@pytest.mark.parametrize(("reader", "kind"), REFUSES)
def test_what_others_refuse_is_known(exported, pixels, tmp_path, reader, kind):
    assert REFUSES[reader, kind] in agreement(reader, exported[kind], pixels, tmp_path)


@pytest.mark.parametrize(("reader", "kind"), WRONG)
def test_what_others_read_wrongly_is_seen(exported, pixels, tmp_path, reader, kind):
    assert agreement(reader, exported[kind], pixels, tmp_path) < 10


def test_tensorflows_own_interpreter_reads_them(exported, pixels):
    import tensorflow as tf

    for kind in ("tflite-fp32", "tflite-int8"):
        interpreter = tf.lite.Interpreter(str(exported[kind]))
        interpreter.allocate_tensors()
        inputs = (
            np.stack(pixels)[:1]
            if kind == "tflite-int8"
            else images.normalise(np.stack(pixels)[:1], PREPROCESS["tf"])
        )
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs)
        interpreter.invoke()
        found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        assert found.argmax() == runtimes.run(runtimes.open(exported[kind]), [inputs])[0].argmax()
