"""What the zoo is made of becomes files that compute the same, and cost the same, in both runtimes."""

import numpy as np
import pytest

from edgecls import layers, runtimes, verification
from edgecls.exporters import frozen, onnx, tflite
from edgecls.graph import read
from edgecls.graph.cost import cost
from edgecls.keras_layers import ClassToken, LocalResponseNormalization, PositionEmbedding
from edgecls.models import _blocks as blocks
from edgecls.models import coatnet, vit
from edgecls.models._blocks import TORCH

SIZE = 15  # odd, so that ceil and floor differ


def centred(x):
    """Half of it negative, so that what surrounds a picture is seen."""
    return x - 1.0


def tokens(x):
    import keras

    return keras.layers.Reshape((-1, x.shape[-1]))(x)


def picture(x):
    import keras

    return keras.layers.Reshape((8, 8, x.shape[-1]))(x)


#: name -> (the block, from a picture of 8x8x24; ops of the .tflite, ops of the .onnx that do the work)
BLOCKS = {
    "grouped convolution": (
        lambda x: TORCH.conv_norm(x, 24, 3, groups=6, name="grouped"),
        {"CONV_2D": 2},
        {"Conv": 2},
    ),
    "channel shuffle": (
        lambda x: blocks.channel_shuffle(TORCH.conv(x, 24, groups=3, name="grouped"), 3, name="shuffle"),
        {"CONV_2D": 2, "GATHER": 0},
        {"Conv": 2, "Gather": 0},
    ),
    "ceil-mode pool": (
        lambda x: blocks.max_pool(blocks.activate(x, "relu", name="pool"), 3, stride=2, padding="ceil", name="pool"),
        {"MAX_POOL_2D": 1},
        {"MaxPool": 1},
    ),
    "pool of negative pixels and zeros": (
        lambda x: blocks.max_pool(centred(x), 3, stride=2, padding="symmetric", name="pool"),
        {"PAD": 1, "MAX_POOL_2D": 1},
        {"Pad": 1, "MaxPool": 1},
    ),
    "pool of negative pixels alone": (
        lambda x: blocks.max_pool(centred(x), 3, stride=2, padding="same", name="pool"),
        {"MAX_POOL_2D": 1},
        {"MaxPool": 1},
    ),
    "mean that counts its zeros": (
        lambda x: blocks.average_pool(x, 3, padding="symmetric", name="pool"),
        {"AVERAGE_POOL_2D": 1},
        {"AveragePool": 1},
    ),
    "mean of pixels alone": (
        lambda x: blocks.average_pool(x, 3, padding="same", name="pool"),
        {"AVERAGE_POOL_2D": 1},
        {"AveragePool": 1},
    ),
    "adaptive mean": (lambda x: blocks.adaptive_mean(x, 3), {}, {}),
    "GELU": (lambda x: blocks.activate(x, "gelu", name="a"), {"GELU": 1}, {"Erf": 1}),
    "hard swish": (lambda x: blocks.activate(x, "hard_swish", name="a"), {"HARD_SWISH": 1}, {}),
    "squeeze and excite": (
        lambda x: blocks.squeeze_excite(x, 6, gate="hard_sigmoid", name="se"),
        {"CONV_2D": 3},
        {"Conv": 3},
    ),
    "local response norm": (
        lambda x: LocalResponseNormalization(radius=2, bias=2.0, alpha=0.1, beta=0.75)(x),
        {"LOCAL_RESPONSE_NORMALIZATION": 1},
        {"LRN": 1},
    ),
    "attention": (
        lambda x: picture(vit.encoder_block(tokens(x), 3, name="block")),
        {"SOFTMAX": 1, "BATCH_MATMUL": 2, "GELU": 1, "FULLY_CONNECTED": 4 + 1, "RSQRT": 2},
        {"Softmax": 1, "MatMul": 2, "Gemm": 4 + 1, "LayerNormalization": 2},
    ),
    "class token and positions": (
        lambda x: PositionEmbedding()(ClassToken()(tokens(x))),
        {"CONCATENATION": 1},
        {"Concat": 1},
    ),
    "relative attention": (
        lambda x: coatnet.transformer(x, 32, stride=2, inner=32, bias=True, name="block"),
        {"SOFTMAX": 1, "BATCH_MATMUL": 2, "GATHER": 0},
        {"Softmax": 1, "MatMul": 2, "LayerNormalization": 2, "Gather": 0},
    ),
}


@pytest.fixture(scope="module", params=BLOCKS)
def case(request, tmp_path_factory):
    """(Keras model, {format: file}, {format: ops that the file should have}) of one block."""
    import keras

    block, *ops = BLOCKS[request.param]
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3))
    x = block(TORCH.conv_norm(image, 24, 3, stride=2, name="stem"))
    x = keras.layers.Dense(7)(keras.layers.Flatten()(x))
    model = keras.Model(image, x)
    rng = np.random.default_rng(1)
    for variable in model.variables:
        one_axis = len(variable.shape) == 1
        variable.assign(rng.uniform(0.5, 1.5, variable.shape) if one_axis else rng.normal(0, 0.3, variable.shape))
    folder = tmp_path_factory.mktemp("block")
    files = {"tflite": folder / "net.tflite", "onnx": folder / "net.onnx"}
    graph, _ = frozen.freeze(model)
    tflite.convert(graph, files["tflite"])
    onnx.convert(graph, folder / "skeleton.onnx", folder / "kernels.safetensors")
    onnx.join(folder / "skeleton.onnx", folder / "kernels.safetensors", files["onnx"])
    return model, files, dict(zip(files, ops, strict=True))


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_block_computes_what_keras_computes(case, format):
    model, files, _ = case
    pictures = np.random.default_rng(2).standard_normal((4, 1, SIZE, SIZE, 3)).astype(np.float32)
    wanted = np.asarray(model(pictures[:, 0], training=False))
    assert np.ptp(wanted, axis=0).min() > 1e-3
    assert verification.sqnr_db(wanted, verification.logits(runtimes.open(files[format]), pictures)) > 100


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_block_costs_what_it_costs_in_keras(case, format):
    model, files, _ = case
    counted = cost(read(files[format]))
    assert (counted.macs, counted.params) == (layers.count(model)[1], layers.folded_params(model))


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_block_has_the_ops_that_runtimes_are_fast_at(case, format):
    _, files, ops = case
    graph = read(files[format])
    assert {kind: sum(op.kind == kind for op in graph.ops) for kind in ops[format]} == ops[format]
    assert not [op.kind for op in graph.ops if op.custom]
