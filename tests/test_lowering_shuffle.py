"""Shuffles folded into weights: the same function, in other words."""

from collections import Counter

import numpy as np
import pytest

from edgecls import builder, layers, registry
from edgecls.exporters.lowerings import shuffle
from edgecls.models import _blocks as blocks

SIZE = 32  # of which ShuffleNet leaves one pixel, so that the last mean is exact


def wire(model, seed=0):
    """Let every filter read one value, and every norm add a whole number: all sums are exact."""
    rng = np.random.default_rng(seed)
    for _, node in layers.calls(model):
        layer = node.operation
        if type(layer).__name__ == "BatchNormalization":
            ones = np.ones(layer.gamma.shape, np.float32)
            offsets = rng.integers(0, 99, ones.shape)
            layer.set_weights([ones, offsets, 0 * ones, ones - np.float32(layer.epsilon)])
        for variable in getattr(layer, "weights", ()):
            if variable.name == "kernel":
                kernel = np.zeros(variable.shape, np.float32)
                if type(layer).__name__ == "DepthwiseConv2D":
                    kernel[1, 1] = 1
                else:
                    taps = kernel.reshape(-1, kernel.shape[-1])
                    taps[rng.integers(len(taps), size=taps.shape[1]), np.arange(taps.shape[1])] = 1
                variable.assign(kernel)
            elif variable.name == "bias":
                variable.assign(rng.integers(0, 99, variable.shape))


def pictures(channels=3, seed=1):
    return np.random.default_rng(seed).integers(0, 999, (2, SIZE, SIZE, channels)).astype(np.float32)


def run(model, inputs):
    return np.asarray(model(inputs, training=False))


def kinds(model):
    return Counter(type(node.operation).__name__ for _, node in layers.calls(model))


def wired(name):
    model = builder.assemble(registry.get(name), input_size=SIZE)
    wire(model)
    return model


@pytest.fixture(scope="module")
def shufflenet():
    """(ShuffleNet v2, it folded)"""
    model = wired("shufflenet_v2_x0_5")
    return model, shuffle.fold(model)


def test_shufflenet_v2_without_shuffles_is_the_same_bit_for_bit(shufflenet):
    check_bit_for_bit(*shufflenet)


@pytest.mark.slow
@pytest.mark.parametrize("width", ["x1_0", "x1_5", "x2_0"])
def test_shufflenet_v2_of_any_width_is_the_same_bit_for_bit(width):
    model = wired(f"shufflenet_v2_{width}")
    check_bit_for_bit(model, shuffle.fold(model))


def check_bit_for_bit(model, folded):
    logits = run(model, pictures())
    assert len(np.unique(logits)) > 100
    assert (run(folded, pictures()) == logits).all()
    assert kinds(model)["Permute"] == 16
    assert not kinds(folded).keys() & {"Permute", "Reshape", "Split"}
    assert layers.count(folded) == layers.count(model)


def test_channels_in_another_order_are_seen(shufflenet):
    """What `check_bit_for_bit` compares is not blind to two channels that change places."""
    model, folded = shufflenet
    layer = folded.get_layer("stage3_block4_right_pointwise1_conv_reordered")
    kernel = layer.kernel.numpy()
    first, second = np.flatnonzero(kernel[0, 0].any(axis=1))[:2]
    swapped = kernel.copy()
    swapped[:, :, [first, second]] = kernel[:, :, [second, first]]
    layer.kernel.assign(swapped)
    found = run(folded, pictures())
    layer.kernel.assign(kernel)
    assert (found != run(model, pictures())).any()


def test_the_model_itself_stays_as_it_was():
    model = net(lambda keras, x: conv(keras, blocks.channel_shuffle(x, 3, name="shuffle"), 6))
    before, answer = [w.numpy() for w in model.weights], run(model, pictures(12))
    assert shuffle.fold(model) is not None
    assert kinds(model)["Permute"] == 1
    assert all((a == b.numpy()).all() for a, b in zip(before, model.weights, strict=True))
    assert (run(model, pictures(12)) == answer).all()


def test_sums_in_another_order_differ_by_rounding_alone():
    """In float64, where rounding is 2**29 times finer than in float32, and a wrong channel is not."""
    import keras

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        model = builder.assemble(registry.get("shufflenet_v2_x0_5"), input_size=SIZE)
        rng = np.random.default_rng(0)
        for w in model.weights:
            w.assign(rng.uniform(0.5, 1.5, w.shape) if len(w.shape) == 1 else rng.normal(0, 0.2, w.shape))
        wanted, found = run(model, pictures()), run(shuffle.fold(model), pictures())
    finally:
        keras.config.set_dtype_policy(policy)
    assert wanted.dtype == np.float64 and np.ptp(wanted) > 1e-3 * np.abs(wanted).max()
    assert np.abs(found - wanted).max() < 1e-12 * np.abs(wanted).max()


def net(body, channels=12):
    """A model of one picture of `channels`, wired."""
    import keras

    image = keras.Input((SIZE, SIZE, channels))
    model = keras.Model(image, body(keras, image))
    wire(model)
    return model


def conv(keras, x, filters, **options):
    return keras.layers.Conv2D(filters, 1, **options)(x)


def test_a_shuffle_of_pixels_that_are_not_flattened_is_one_too():
    def body(keras, x):
        x = keras.layers.Reshape((SIZE, SIZE, 3, 4))(conv(keras, x, 12))
        x = keras.layers.Permute((1, 2, 4, 3))(x)
        return conv(keras, keras.layers.Reshape((SIZE, SIZE, 12))(x), 5)

    model = net(body)
    folded = shuffle.fold(model)
    assert (run(folded, pictures(12)) == run(model, pictures(12))).all()
    assert not kinds(folded)["Permute"]


@pytest.mark.parametrize(
    "behind",
    [
        pytest.param(lambda keras, x: conv(keras, x, 6, groups=3), id="groups"),
        pytest.param(lambda keras, x: keras.layers.Add()([x, conv(keras, x, 12)]), id="sum"),
        pytest.param(lambda keras, x: keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(x), id="twice"),
        pytest.param(lambda keras, x: keras.layers.Activation("softmax")(x), id="softmax"),
        pytest.param(lambda keras, x: keras.layers.Dense(5)(keras.layers.Flatten()(x)), id="flatten"),
        pytest.param(lambda keras, x: x, id="the output"),
        pytest.param(lambda keras, x: keras.layers.Permute((2, 1, 3))(x), id="pixels"),
    ],
)
def test_a_shuffle_stays_before_what_needs_the_order(behind):
    def body(keras, x):
        x = blocks.channel_shuffle(conv(keras, x, 12), 3, name="shuffle")
        return behind(keras, keras.layers.ReLU()(keras.layers.DepthwiseConv2D(3, padding="same")(x)))

    assert shuffle.fold(net(body)) is None


@pytest.mark.parametrize(
    "beside",
    [
        pytest.param(lambda keras, x: x[:, 1:, ..., 2:5], id="a slice"),
        pytest.param(lambda keras, x: keras.layers.ReLU()(inputs=x), id="given by name"),
        pytest.param(lambda keras, x: keras.ops.minimum(x, 6.0), id="a number"),
        pytest.param(lambda keras, x: keras.ops.moments(x, axes=[-1], keepdims=True)[0], id="two outputs"),
    ],
)
def test_whatever_a_layer_is_called_with_a_shuffle_beside_it_is_folded(beside):
    def body(keras, x):
        y = conv(keras, blocks.channel_shuffle(conv(keras, x, 12), 3, name="shuffle"), 5)
        pool = keras.layers.GlobalAveragePooling2D
        return keras.layers.Concatenate()([pool()(y), pool()(beside(keras, x))])

    model = net(body)
    folded = shuffle.fold(model)
    assert run(folded, pictures(12)) == pytest.approx(run(model, pictures(12)), rel=1e-5)
    assert not kinds(folded)["Permute"]


def test_what_reads_a_shuffle_in_both_ways_is_not_computed_twice():
    def body(keras, x):
        x = blocks.channel_shuffle(conv(keras, x, 12), 3, name="shuffle")
        x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
        return keras.layers.Concatenate()([conv(keras, x, 6, groups=3), conv(keras, x, 6)])

    assert shuffle.fold(net(body)) is None


def test_a_net_that_cannot_be_counted_stays():
    def body(keras, x):
        x = conv(keras, blocks.channel_shuffle(conv(keras, x, 12), 3, name="shuffle"), 5)
        return keras.layers.MultiHeadAttention(2, 4, attention_axes=(1,))(x, x)

    assert shuffle.fold(net(body)) is None


def test_two_shuffles_of_which_one_can_be_folded():
    def body(keras, x):
        x = conv(keras, blocks.channel_shuffle(conv(keras, x, 12), 4, name="dense"), 12)
        return conv(keras, blocks.channel_shuffle(x, 3, name="grouped"), 6, groups=3)

    model = net(body)
    folded = shuffle.fold(model)
    assert kinds(folded)["Permute"] == 1
    assert (run(folded, pictures(12)) == run(model, pictures(12))).all()


def test_shufflenet_v1_stays():
    assert shuffle.fold(builder.assemble(registry.get("shufflenet_v1_g3"), input_size=SIZE)) is None


@pytest.mark.parametrize("name", ["vit_tiny_patch16", "coatnet_0_rw"])
def test_attention_that_turns_pixels_round_stays(name):
    model = builder.assemble(registry.get(name), input_size=32)
    assert kinds(model)["Permute"] and shuffle.fold(model) is None


def test_nested_and_sequential_models_stay():
    import keras

    inner = net(lambda keras, x: conv(keras, blocks.channel_shuffle(x, 3, name="shuffle"), 6))
    outer = net(lambda keras, x: inner(x))
    assert shuffle.fold(outer) is None
    assert shuffle.fold(keras.Sequential([keras.Input((SIZE, SIZE, 12)), keras.layers.Conv2D(2, 1)])) is None
