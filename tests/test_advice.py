"""What is said before a net is quantized: which nets are alike, and the measured figures that it rests on."""

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path

import command
import pytest

from edgecls.exporters import advice, measured
from edgecls.exporters.advice import TRAITS, sentence, trait
from edgecls.exporters.measured import Figures
from edgecls.exporters.recipe import MEASURED_ON, RECIPES

INT8 = RECIPES["tflite-int8"]


def net(*stack, gate=None):
    """A Keras model of one convolution, `stack`, perhaps a gate for each channel, and a classifier."""
    import keras

    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(image)
    for layer in stack:
        x = layer(x)
    if gate:
        squeezed = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
        x = keras.layers.Multiply()([x, keras.layers.Conv2D(4, 1, activation=gate)(squeezed)])
    return keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x)))


def test_nets_are_told_apart_by_their_layers():
    from keras import layers

    depthwise, relu, swish = layers.DepthwiseConv2D, layers.ReLU, layers.Activation
    assert trait(net(relu())) == trait(net(layers.ReLU(6.0))) == trait(net()) == "plain"
    separable = layers.SeparableConv2D(4, 3, activation="relu")
    assert trait(net(depthwise(3), relu())) == trait(net(separable)) == "depthwise"
    assert trait(net(relu(), gate="sigmoid")) == "gates"
    assert trait(net(depthwise(3), relu(), gate="hard_sigmoid")) == "gated depthwise"
    assert trait(net(depthwise(3), swish("swish"), gate="sigmoid")) == trait(net(swish("silu"))) == "swish"
    assert trait(net(swish("hard_swish"), gate="hard_sigmoid")) == "hard-swish"
    attention = [layers.Reshape((36, 4)), layers.LayerNormalization()]
    image = net(*attention)
    tokens = image.layers[-3].output
    import keras

    attended = layers.MultiHeadAttention(1, 4)(tokens, tokens)
    assert trait(keras.Model(image.input, attended)) == "attention"


@pytest.mark.parametrize("kind", ["gelu", "tanh", "groups"])
def test_of_a_net_like_none_that_was_measured_nothing_is_said(kind):
    from keras import layers

    stack = [layers.Conv2D(4, 3, groups=2)] if kind == "groups" else [layers.Activation(kind)]
    assert trait(net(*stack)) is None
    assert sentence(None, INT8) is None


def test_two_tensors_that_are_multiplied_are_no_gate():
    import keras

    image = keras.Input((8, 8, 3))
    both = [keras.layers.Conv2D(4, 3)(image) for _ in range(2)]
    assert trait(keras.Model(image, keras.layers.Multiply()(both))) == "plain"


def test_everything_that_is_said_was_measured():
    table = measured.table()
    named = [name for one in TRAITS.values() for name in (one.net, one.trained, one.instead) if name]
    wanted = {*MEASURED_ON, *named}
    assert set(table) == wanted
    for known in table.values():
        assert set(known) == set(RECIPES)
        for name, figures in known.items():
            assert 0.2 < figures.size <= 1 and 0.2 < figures.time < 100
            assert figures.sqnr_db >= RECIPES[name].min_sqnr_db
            assert RECIPES[name].precision != "fp32" or (figures.size, figures.time) == (1, 1)


@pytest.fixture
def planted(monkeypatch):
    """Puts figures (dB, time) of .tflite recipes in place of those of EfficientNet; others are of no use."""

    def plant(**figures):
        own = {name: Figures(size=1, time=9, sqnr_db=1) for name in RECIPES}
        for name, (sqnr, time) in figures.items():
            own[f"tflite-{name.replace('_', '-')}"] = Figures(size=1, time=time, sqnr_db=sqnr)
        nets = ("efficientnet_b0", "efficientnet_lite0", "mobilenet_v2", "mobilenet_v2 trained")
        monkeypatch.setattr(advice, "table", lambda: dict.fromkeys(nets, own))
        return sentence("swish", INT8), sentence("depthwise", INT8)

    return plant


def test_recipes_that_are_closer_or_faster_are_named_with_the_sibling(planted):
    figures = {"dynamic": (20.0, 0.8), "fp16": (60.0, 1.0), "int8_weights": (20.0, 0.9)}
    swish, depthwise = planted(int8=(12.3, 0.5), **figures)
    assert swish == (
        "tflite-int8 of a net with swish: of efficientnet_b0 with random weights it kept 12 dB at 0.5 times "
        "float's time; fp16 kept 60 dB at 1; dynamic kept 20 dB at 0.8; efficientnet_lite0, with ReLU6, 12 dB at 0.5"
    )
    assert "efficientnet_lite0" not in depthwise
    assert "it kept 12 dB at 0.5 times float's time; with trained ones 12 dB; fp16" in depthwise


def test_recipes_that_are_neither_are_not_named(planted):
    _, said = planted(int8=(30.0, 0.5), dynamic=(32.0, 0.5), fp16=(32.5, 1.0))
    assert said.endswith("it kept 30 dB at 0.5 times float's time; with trained ones 30 dB")
    _, said = planted(int8=(30.0, 0.5), dynamic=(20.0, 0.4))
    assert said.endswith("dynamic kept 20 dB at 0.4")


def test_int8_of_attention_is_known_to_be_slower():
    likely = sentence("attention", INT8)
    recipes = measured.table()["vit_tiny_patch16"]
    int8, dynamic = recipes["tflite-int8"], recipes["tflite-dynamic"]
    assert int8.time > 1.2 > 0.9 > dynamic.time
    assert f"{int8.time:g} times float's time" in likely
    assert f"dynamic kept {dynamic.sqnr_db:.0f} dB at {dynamic.time:g}" in likely


def test_float_files_need_no_advice():
    wide = [recipe for recipe in RECIPES.values() if recipe.precision in ("fp32", "fp16")]
    assert len(wide) == 4 and not any(sentence("swish", recipe) for recipe in wide)


def test_one_scale_for_each_tensor_was_not_measured():
    assert sentence("depthwise", INT8) and sentence("depthwise", INT8, per_tensor=True) is None
    assert sentence("depthwise", RECIPES["tflite-dynamic"], per_tensor=True)  # has one for each channel


def test_show_says_what_is_likely():
    shown = command.edgecls("show", "mobilenet_v3_small").stdout
    assert f"int8     {sentence('hard-swish', INT8)}\n" in shown


@pytest.mark.slow
def test_the_table_holds_what_the_script_measures(tmp_path):
    path = Path(__file__).resolve().parent.parent / "scripts" / "quantization_table"
    loader = SourceFileLoader("quantization_table", str(path))
    script = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(script)
    name = "mobilenet_v3_small_minimalistic"
    found, known = script.measure(name, tmp_path, weights="random"), measured.table()[name]
    for recipe, figures in found.items():
        assert figures["size"] == pytest.approx(known[recipe].size, abs=0.02)
        assert figures["sqnr_db"] == pytest.approx(known[recipe].sqnr_db, abs=0.5)
