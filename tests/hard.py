"""A small net that int8 ruins, made of one that it does not: both compute the same."""

import numpy as np

import graph_files

SIZE, CHANNELS, CLASSES = 6, 16, 5
#: Channels of the linear layer that are made wider, and divided again by the weights that read them.
WIDE = [2, 7]


def write(path, factor=1.0):
    """Float: linear 1x1, 1x1 with ReLU, mean, dense. factor: by which the wide channels are wider."""
    rng = np.random.default_rng(3)
    first, second, last = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((CHANNELS, 3), (CHANNELS, CHANNELS), (CLASSES, CHANNELS))
    )
    biases = [rng.standard_normal(count).astype(np.float32) for count in (CHANNELS, CHANNELS, CLASSES)]
    first[WIDE] *= factor
    biases[0][WIDE] *= factor
    second[:, WIDE] /= factor
    save = {".tflite": _tflite, ".onnx": _onnx}[path.suffix]
    return save(path, (first, second, last), biases)


def pictures(count=16):
    """(count, 1, SIZE, SIZE, 3), -1 to 1."""
    return np.random.default_rng(4).uniform(-1, 1, (count, 1, SIZE, SIZE, 3)).astype(np.float32)


def quantized(source, precision="int8", *, io="float32", **options):
    """The file that the exporter makes of a float one, beside it."""
    import importlib

    target, inputs = source.with_name(f"{source.stem}-{precision}{source.suffix}"), source.with_suffix(".npy")
    values = pictures()
    np.save(inputs, values if source.suffix == ".tflite" else np.ascontiguousarray(values.transpose(0, 1, 4, 2, 3)))
    exporter = importlib.import_module(f"edgecls.exporters.{source.suffix[1:]}")
    exporter.quantize(
        str(source), str(target), precision, str(inputs), (-1.0, 1.0), io, lambda event: None, **options
    )
    return target


def _tflite(path, kernels, biases):
    conv = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, "padding": 1}
    shape = (1, SIZE, SIZE, CHANNELS)
    tensors = {"image": (1, SIZE, SIZE, 3), "linear": shape, "relu": shape, "mean": (1, CHANNELS), "logits": (1, CLASSES)}
    names = ("first", "second", "last")
    for name, kernel, bias in zip(names, kernels, biases, strict=True):
        tensors |= {name: kernel if name == "last" else kernel[:, None, None], f"{name}_bias": bias}
    tensors["axes"] = np.array([1, 2], np.int32)
    ops = [
        ("CONV_2D", "image first first_bias", "linear", ("Conv2DOptions", conv)),
        ("CONV_2D", "linear second second_bias", "relu", ("Conv2DOptions", conv | {"fusedActivationFunction": 1})),
        ("MEAN", "relu axes", "mean", ("ReducerOptions", {})),
        ("FULLY_CONNECTED", "mean last last_bias", "logits", ("FullyConnectedOptions", {})),
    ]
    graph_files.write(path, ops, tensors, inputs="image", outputs="logits")
    from edgecls.exporters import flatbuffer

    model = flatbuffer.unpack(path.read_bytes())
    flatbuffer.sign(model)
    flatbuffer.write(model, path)
    return path


def _onnx(path, kernels, biases):
    tensors = {"image": (1, 3, SIZE, SIZE), "logits": (1, CLASSES)}
    for name, kernel, bias in zip(("first", "second", "last"), kernels, biases, strict=True):
        tensors |= {name: kernel if name == "last" else kernel[:, :, None, None], f"{name}_bias": bias}
    ops = [
        ("Conv", "image first first_bias", "linear"),
        ("Conv", "linear second second_bias", "second_out"),
        ("Relu", "second_out", "relu"),
        ("GlobalAveragePool", "relu", "pooled"),
        ("Flatten", "pooled", "mean"),
        ("Gemm", "mean last last_bias", "logits", {"transB": 1}),
    ]
    return graph_files.write(path, ops, tensors, inputs="image", outputs="logits")
