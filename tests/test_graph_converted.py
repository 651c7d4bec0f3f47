"""Counts of files that the converters and quantizers make, against a count by hand."""

import numpy as np
import pytest

from edgecls import builder, layers, registry
from edgecls.graph import read
from edgecls.graph.cost import cost

PARAMS = sum([
    3 * 3 * 3 * 8 + 8,  # convolution, batch norm folded
    3 * 3 * 8 + 8,  # depthwise, batch norm folded
    (8 * 4 + 4) + (4 * 8 + 8),  # squeeze and excite
    3 * 3 * 8 * 6 + 6,  # convolution with a bias
    6 + 6,  # batch norm behind its activation
    6 + 6,  # layer norm
    4 * (6 * 6 + 6),  # attention: query, key, value, output
    6 * 5 + 5,  # dense
])
MACS = sum([
    8 * 8 * 8 * 3 * 3 * 3,
    8 * 8 * 8 * 3 * 3,
    8 * 4 + 4 * 8,
    8 * 8 * 6 * 3 * 3 * 8,
    4 * 64 * 6 * 6,
    2 * 2 * 64 * 64 * 3,  # two products of matrices, two heads
    6 * 5,
])


def small_net():
    import keras
    from keras import layers as k

    x = image = keras.Input((16, 16, 3))
    x = k.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = k.ReLU()(k.BatchNormalization()(x))
    x = k.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = k.Activation("hard_swish")(k.BatchNormalization()(x))
    gate = k.Conv2D(4, 1, activation="relu")(k.GlobalAveragePooling2D(keepdims=True)(x))
    x = k.Multiply()([x, k.Conv2D(8, 1, activation="sigmoid")(gate)])
    x = k.Conv2D(6, 3, padding="same", activation="relu")(x)
    x = k.Reshape((64, 6))(k.BatchNormalization()(x))
    y = k.LayerNormalization()(x)
    x = k.Add()([x, k.MultiHeadAttention(2, 3)(y, y)])
    x = k.Dense(5)(k.GlobalAveragePooling1D()(x))
    model = keras.Model(image, x)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if "seed" not in variable.path:
            variable.assign(rng.uniform(0.1, 1, variable.shape))
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """net.tflite and net.onnx, straight from TFLiteConverter and tf2onnx."""
    import tensorflow as tf
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    path, model = tmp_path_factory.mktemp("converted"), small_net()
    image = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")
    function = tf.function(lambda image: model(image, training=False)).get_concrete_function(image)
    frozen = convert_variables_to_constants_v2(function)
    (path / "net.tflite").write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert())
    tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(),
        input_names=["image:0"],
        output_names=[frozen.outputs[0].name],
        opset=17,
        output_path=str(path / "net.onnx"),
    )
    return path


def pictures(name):
    rng = np.random.default_rng(0)
    return [{name: rng.standard_normal((1, 16, 16, 3)).astype(np.float32)} for _ in range(4)]


@pytest.mark.parametrize("file", ["net.tflite", "net.onnx"])
def test_float_files_count_as_by_hand(folder, file):
    counted = cost(read(folder / file))
    assert (counted.params, counted.macs) == (PARAMS, MACS)


@pytest.mark.parametrize(
    "recipe", ["static_wi8_ai8", "dynamic_wi8_afp32", "weight_only_wi4_afp32", "float16"]
)
def test_quantized_tflite_counts_as_the_float_file(folder, recipe):
    from litert_quantizer import quantizer, recipe as recipes

    from edgecls.exporters import flatbuffer

    source, target = folder / "signed.tflite", folder / f"{recipe}.tflite"
    model = flatbuffer.unpack((folder / "net.tflite").read_bytes())
    flatbuffer.sign(model)
    flatbuffer.write(model, source)
    if recipe == "float16":
        from edgecls.exporters.tflite import _FLOAT16

        made = quantizer.Quantizer(str(source), _FLOAT16)
    else:
        made = quantizer.Quantizer(str(source), getattr(recipes, recipe)())
    ranges = made.calibrate({"serving_default": pictures("image")}) if made.need_calibration else None
    made.quantize(ranges).export_model(str(target), overwrite=True)
    float_cost, counted = cost(read(folder / "net.tflite")), cost(read(target))
    assert (counted.params, counted.macs) == (PARAMS, MACS)
    if recipe == "static_wi8_ai8":
        assert counted.activation_bytes * 4 == float_cost.activation_bytes
        assert len(counted.float_ops) < len(float_cost.float_ops)
    else:
        assert counted.activation_bytes == float_cost.activation_bytes


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
def test_quantized_onnx_counts_as_the_float_file(folder, form):
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, target = folder / "prepared.onnx", folder / f"{form}.onnx"
    quant_pre_process(folder / "net.onnx", source, skip_symbolic_shape=True)
    if form == "dynamic":
        quantization.quantize_dynamic(source, target)
    else:
        class Pictures(quantization.CalibrationDataReader):
            def __init__(self):
                self.left = pictures("image:0")

            def get_next(self):
                return self.left.pop() if self.left else None

        quantization.quantize_static(
            source,
            target,
            Pictures(),
            quant_format=quantization.QuantFormat[form],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    counted = cost(read(target))
    assert (counted.params, counted.macs) == (PARAMS, MACS)
    convolutions = {op.name for op in read(target).ops if "Conv" in op.kind}
    assert convolutions.isdisjoint(counted.float_ops)


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    """(Keras model, folder) of MobileNet v2's two float files, as edgecls exports them."""
    from edgecls.exporters import frozen, onnx, tflite

    path, model = tmp_path_factory.mktemp("mobilenet_v2"), builder.build("mobilenet_v2", weights="random")
    graph, _ = frozen.freeze(model)
    tflite.convert(graph, path / "net.tflite")
    onnx.convert(graph, path / "skeleton.onnx", path / "kernels")
    onnx.join(path / "skeleton.onnx", path / "kernels", path / "net.onnx")
    return model, path


@pytest.mark.parametrize("file", ["net.tflite", "net.onnx"])
def test_mobilenet_v2_counts_as_its_row_says(mobilenet, file):
    model, path = mobilenet
    counted = cost(read(path / file))
    assert counted.macs == registry.get("mobilenet_v2").macs == 300_774_272
    assert counted.params == layers.folded_params(model) == 3_487_816
