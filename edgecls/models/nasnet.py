"""NASNet: two cells that a search composed, repeated at any size (Zoph et al. 2017)."""

from __future__ import annotations

import dataclasses
from functools import partial

from edgecls.models._blocks import TF, activate, average_pool, classify, keras, max_pool
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="nasnet",
    title="NASNet",
    year=2017,
    paper="Zoph et al., Learning Transferable Architectures for Scalable Image Recognition, arXiv:1707.07012",
    tier=Tier.HEAVY,
    idea="Search a good cell on small pictures, then stack it: the machine designs, the human scales.",
)


#: Our cells, and a separable convolution in one: side and number of its pair, first or second of two.
CELL = r"(stem|normal|reduce)(\d+)"
SEPARABLE = rf"{CELL}_(left|right)(\d)_(\d)"


def keras_names(cells):
    def keras_name(template):
        def name(m):
            kind, number = m[1], int(m[2])
            cell = {
                "stem": f"stem_{number + 1}",
                "normal": number if number < cells else number + 1,  # a reduction took a number
                "reduce": f"reduce_{(number + 1) * cells}",
            }[kind]
            kind = "normal" if kind == "normal" else "reduction"
            found = m.expand(template).format(kind=kind, cell=cell)
            return found.replace("reduction_left5", "reduction_left4")  # so Keras calls it

        return name

    return renamed({
        r"stem_(conv|bn)": r"stem_\g<1>1",
        rf"{CELL}_input_(conv|bn)": keras_name(r"{kind}_\3_1_{cell}"),
        rf"{CELL}_previous_conv": keras_name("adjust_conv_projection_{cell}"),
        rf"{CELL}_even_conv": keras_name("adjust_conv_1_{cell}"),
        rf"{CELL}_odd_conv": keras_name("adjust_conv_2_{cell}"),
        rf"{CELL}_(?:previous|halved)_bn": keras_name("adjust_bn_{cell}"),
        rf"{SEPARABLE}_depthwise_conv": keras_name(r"separable_conv_\5_{kind}_\3\4_{cell}/depthwise_kernel"),
        rf"{SEPARABLE}_conv": keras_name(r"separable_conv_\5_{kind}_\3\4_{cell}/pointwise_kernel"),
        rf"{SEPARABLE}_bn": keras_name(r"separable_conv_\5_bn_{kind}_\3\4_{cell}"),
        r"classifier": "predictions",
    })


def timm_name(template):
    cell = {"stem": "cell_stem_", "normal": "cell_", "reduce": "reduction_cell_"}
    return lambda m: f"{cell[m[1]]}{m[2]}.{m.expand(template)}"


def timm_pair(template):
    return lambda m: timm_name(rf"comb_iter_{int(m[4]) - 1}_\3.{template}")(m)


TIMM_NAMES = renamed({
    r"stem_(conv|bn)": r"conv0.\1",
    rf"{CELL}_input_(conv|bn)": timm_name(r"conv_1x1.\3"),
    rf"{CELL}_previous_(conv|bn)": timm_name(r"conv_prev_1x1.\3"),
    rf"{CELL}_even_conv": timm_name("path_1.conv"),
    rf"{CELL}_odd_conv": timm_name("path_2.conv"),
    rf"{CELL}_halved_bn": timm_name("final_path_bn"),
    rf"{SEPARABLE}_depthwise_conv": timm_pair(r"separable_\5.depthwise_conv2d"),
    rf"{SEPARABLE}_conv": timm_pair(r"separable_\5.pointwise_conv2d"),
    rf"{SEPARABLE}_bn": timm_pair(r"bn_sep_\5"),
    r"classifier": "last_linear",
})

row = partial(variant, family=FAMILY, min_input_size=32)
MOBILE = {"cells": 4, "filters": 44, "stem_filters": 32, "skip": False}
LARGE = {"cells": 6, "filters": 168, "stem_filters": 96, "skip": True}


@row(
    "nasnet_mobile",
    source="keras",
    reference="keras.applications.NASNetMobile",
    source_name=keras_names(cells=4),
    params=5_289_978,
    macs=563_638_816,
    preprocess=PREPROCESS["tf"],
    options=MOBILE | {"max_padding": "zeros"},
)
@row(
    "nasnet_large",
    source="keras",
    reference="keras.applications.NASNetLarge",
    source_name=keras_names(cells=6),
    params=88_753_150,
    macs=23_783_414_658,
    preprocess=PREPROCESS["tf"].at(331),
    options=LARGE | {"max_padding": "zeros"},
)
@row(
    "nasnet_large",
    source="timm",
    reference="timm.models.nasnetalarge",
    source_name=TIMM_NAMES,
    params=88_753_150,
    macs=23_783_414_658,
    preprocess=dataclasses.replace(PREPROCESS["tf"], resize=363, crop=331, interpolation="bicubic"),
    options=LARGE | {"max_padding": "same"},
)
def nasnet(image, *, classes, cells, filters, stem_filters, skip, max_padding):
    """Figure 2, right: two halving cells, then three times `cells` normal ones with a halving between.

    filters: of the first normal cells, doubled after each halving; the paper's penultimate width is
        24 times as much. skip: whether the cell after a halving reads, beside it, the input of the
        cell before the halving (figure 3's "skip reduction") or the halving's own input.
    max_padding: of the max pools, whose input may be negative: "zeros" or "same".
    """
    halve = partial(reduction, max_padding=max_padding)
    previous = TF.conv_norm(image, stem_filters, 3, stride=2, padding="valid", name="stem")
    x = halve(previous, previous, filters // 4, name="stem0")
    previous, x = x, halve(x, previous, filters // 2, name="stem1")
    for stage in range(3):
        if stage > 0:
            halved = halve(x, previous, filters * 2**stage, name=f"reduce{stage - 1}")
            previous, x = (previous if skip else x), halved
        for cell in range(stage * cells, (stage + 1) * cells):
            previous, x = x, normal(x, previous, filters * 2**stage, name=f"normal{cell}")
    return classify(activate(x, "relu", name="head"), classes)


def normal(x, previous, filters, *, name):
    """Figure 4, left: the sums of five pairs beside the previous cell's output."""
    p = fit(previous, x, filters, name=name)
    x = relu_conv_norm(x, filters, name=f"{name}_input")
    mean = average_pool(p, 3, padding="same", name=f"{name}_left4_pool")
    pairs = [
        (separable(x, filters, 5, name=f"{name}_left1"), separable(p, filters, 3, name=f"{name}_right1")),
        (separable(p, filters, 5, name=f"{name}_left2"), separable(p, filters, 3, name=f"{name}_right2")),
        (average_pool(x, 3, padding="same", name=f"{name}_left3_pool"), p),
        (mean, mean),
        (separable(x, filters, 3, name=f"{name}_left5"), x),
    ]
    sums = [keras.layers.Add(name=f"{name}_add{n}")(pair) for n, pair in enumerate(pairs, start=1)]
    return keras.layers.Concatenate(name=f"{name}_concat")([p, *sums])


def reduction(x, previous, filters, *, max_padding, name):
    """Figure 4, right: five pairs with stride 2; the first sum is read by the last two only."""

    def add(number, *pair):
        return keras.layers.Add(name=f"{name}_add{number}")(pair)

    p = fit(previous, x, filters, name=name)
    x = relu_conv_norm(x, filters, name=f"{name}_input")
    padded = pad_same(x, name=f"{name}_pool")
    mean = average_pool(padded, 3, stride=2, name=f"{name}_mean")
    largest = (
        max_pool(padded, 3, stride=2, name=f"{name}_max")
        if max_padding == "zeros"
        else max_pool(x, 3, stride=2, padding="same", name=f"{name}_max")
    )
    halve = partial(separable, filters=filters, stride=2)
    first = add(1, halve(x, kernel=5, name=f"{name}_left1"), halve(p, kernel=7, name=f"{name}_right1"))
    second = add(2, largest, halve(p, kernel=7, name=f"{name}_right2"))
    third = add(3, mean, halve(p, kernel=5, name=f"{name}_right3"))
    fourth = add(4, average_pool(first, 3, padding="same", name=f"{name}_left4_pool"), second)
    fifth = add(5, separable(first, filters, 3, name=f"{name}_left5"), largest)
    return keras.layers.Concatenate(name=f"{name}_concat")([second, third, fourth, fifth])


def fit(p, x, filters, *, name):
    """The previous cell's output with the side of x, by two interleaved paths, and `filters` channels.

    The first cell reads its own input as previous output, unchanged.
    """
    if p is x:
        return p
    if p.shape[1] == x.shape[1]:
        return relu_conv_norm(p, filters, name=f"{name}_previous")
    p = activate(p, "relu", name=f"{name}_halved")
    even = average_pool(p, 1, stride=2, name=f"{name}_even_pool")
    odd = keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_odd_pad")(p)
    odd = keras.layers.Cropping2D(((1, 0), (1, 0)), name=f"{name}_odd_crop")(odd)
    odd = average_pool(odd, 1, stride=2, name=f"{name}_odd_pool")
    even = TF.conv(even, filters // 2, name=f"{name}_even")
    odd = TF.conv(odd, filters // 2, name=f"{name}_odd")
    return TF.norm(keras.layers.Concatenate(name=f"{name}_halved_concat")([even, odd]), name=f"{name}_halved")


def relu_conv_norm(x, filters, *, name):
    return TF.conv_norm(activate(x, "relu", name=name), filters, name=name)


def separable(x, filters, kernel, *, stride=1, name):
    """Appendix A.4: twice ReLU, depthwise, 1x1, norm; the stride is in the first."""
    for number, step in ((1, stride), (2, 1)):
        x = activate(x, "relu", name=f"{name}_{number}")
        x = TF.depthwise(x, kernel, stride=step, name=f"{name}_{number}_depthwise")
        x = TF.conv_norm(x, filters, name=f"{name}_{number}")
    return x


def pad_same(x, *, name):
    """The zeros of TensorFlow's `same` before a 3x3 window of stride 2, which then count as values."""
    before = x.shape[1] % 2
    return keras.layers.ZeroPadding2D(((before, 1), (before, 1)), name=f"{name}_pad")(x)
