"""NaN and infinities are found before any work, and the first layer that has them is named."""

import graph_files
import nets
import numpy as np
import pytest

from edgecls.errors import BadFile, WorkFailed
from edgecls.exporters import finite, ranges


@pytest.mark.parametrize(("value", "words"), [(np.nan, "NaN"), (np.inf, "an infinity"), (-np.inf, "an infinity")])
def test_the_first_damaged_weight_of_a_keras_model_is_named(value, words):
    model = nets.net()
    finite.check_weights(model, "net.keras")
    kernels = [weight for weight in model.weights if weight.path.endswith("kernel")]
    for weight in kernels[1:]:
        damaged = np.array(weight)
        damaged.flat[-1] = value
        weight.assign(damaged)
    with pytest.raises(BadFile) as caught:
        finite.check_weights(model, "net.keras")
    assert str(caught.value).startswith(f"net.keras has {words} in {kernels[1].path}, the first weight that does")


def test_the_first_layer_of_a_keras_model_that_overflows_is_named():
    import keras

    image = keras.Input((2, 2, 1))
    out = keras.layers.Flatten(name="flat")(image)
    for name in ("one", "two", "three"):
        out = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(1e20), name=name)(out)
    model = keras.Model(image, out)
    pictures = np.array([0, 1], np.float32).reshape(2, 1, 1, 1, 1) * np.ones((2, 1, 2, 2, 1), np.float32)
    logits = np.concatenate([np.asarray(model(picture)) for picture in pictures])
    finite.check_logits(model, pictures[:1], logits[:1])
    with pytest.raises(WorkFailed, match="computes an infinity in two, the first layer that does"):
        finite.check_logits(model, pictures, logits)


def graph(path, *, second=0.0, pad=0.0):
    """x -> two products of matrices -> y."""
    first, last = np.ones((2, 2), np.float32), np.ones((2, 2), np.float32)
    last[1, 1] += np.float32(second)
    if path.suffix == ".onnx":
        ops = [("MatMul", "x first", "middle"), ("MatMul", "middle last", "behind"), ("Add", "behind pad", "y")]
    else:
        ops = [("FULLY_CONNECTED", "x first -", "middle"), ("FULLY_CONNECTED", "middle last -", "behind"), ("ADD", "behind pad", "y")]
    tensors = {"x": (1, 2), "first": first, "last": last, "pad": np.full(1, pad, np.float32)}
    return graph_files.write(path, ops, tensors | {name: (1, 2) for name in ("middle", "behind", "y")})


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_the_first_damaged_layer_of_a_file_is_named(tmp_path, suffix):
    path = tmp_path / f"net.{suffix}"
    finite.check_constants(graph(path, pad=-np.inf))  # such as pads a maximum
    with pytest.raises(BadFile, match=f"net.{suffix} has NaN in 'last' of .*, the first layer that does"):
        finite.check_constants(graph(path, second=np.nan))


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_calibration_names_the_first_tensor_that_overflows(tmp_path, suffix):
    path = str(graph(tmp_path / f"net.{suffix}"))
    small, large = np.ones((1, 1, 2), np.float32), np.full((1, 1, 2), 2e38, np.float32)
    found, _ = ranges.find(path, small, "min-max", 256, lambda event: None)
    assert found == {"x": (1, 1), "middle": (2, 2), "behind": (4, 4), "y": (4, 4)}
    with pytest.raises(WorkFailed, match="computes an infinity in 'middle', the first layer that does"):
        ranges.find(path, np.concatenate([small, large]), "min-max", 256, lambda event: None)
