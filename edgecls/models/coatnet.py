"""CoAtNet: convolution below, attention above (Dai et al. 2021)."""

from __future__ import annotations

import dataclasses
from functools import partial

from edgecls.models._attention import attend, layer_norm
from edgecls.models._blocks import TORCH, activate, average_pool, keras, squeeze_excite
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="coatnet",
    title="CoAtNet",
    year=2021,
    paper="Dai et al., CoAtNet: Marrying Convolution and Attention for All Data Sizes, arXiv:2106.04803",
    tier=Tier.HEAVY,
    idea="Two stages of inverted residuals, then two of attention that knows how far apart two pixels are.",
)

#: Table 3 of the paper: width of the stem, then width and blocks of the stages S1 to S4.
SIZES = {
    0: (64, (96, 192, 384, 768), (2, 3, 5, 2)),
    1: (64, (96, 192, 384, 768), (2, 6, 14, 2)),
    2: (128, (128, 256, 512, 1024), (2, 6, 14, 2)),
    3: (192, (192, 384, 768, 1536), (2, 6, 14, 2)),
    4: (192, (192, 384, 768, 1536), (2, 12, 28, 2)),
}
HEAD_WIDTH = 32


def _block(suffix):
    """timm counts stages and blocks from 0."""
    return lambda m: f"stages.{int(m[1]) - 1}.blocks.{int(m[2]) - 1}.{m.expand(suffix)}"


BLOCK = r"stage(\d)_block(\d+)"
TIMM_NAMES = {
    r"stem(\d)_conv": r"stem.conv\1",
    r"stem(\d)_bn": r"stem.norm\1",
    rf"{BLOCK}_shortcut_conv": _block("shortcut.expand"),
    rf"{BLOCK}_preact_bn": _block("pre_norm"),
    rf"{BLOCK}_expand_conv": _block("conv1_1x1"),
    rf"{BLOCK}_expand_bn": _block("norm1"),
    rf"{BLOCK}_depthwise_conv": _block("conv2_kxk"),
    rf"{BLOCK}_depthwise_bn": _block("norm2"),
    rf"{BLOCK}_project_conv": _block("conv3_1x1"),
    rf"{BLOCK}_qkv_conv": _block("attn.qkv"),
    rf"{BLOCK}_bias": _block("attn.rel_pos.relative_position_bias_table"),
    rf"{BLOCK}_merge_conv": _block("attn.proj"),
    # timm puts the norm of a halving block into a sequence with the pool.
    r"stage([34])_block(1)_attention_ln": _block("norm1.norm"),
    rf"{BLOCK}_attention_ln": _block("norm1"),
    rf"{BLOCK}_mlp_ln": _block("norm2"),
    rf"{BLOCK}_mlp(\d)_conv": _block(r"mlp.fc\3"),
    r"classifier": "head.fc",
}
PAPER_NAMES = renamed(
    TIMM_NAMES
    | {
        rf"{BLOCK}_se_reduce_conv": _block("se.fc1"),
        rf"{BLOCK}_se_expand_conv": _block("se.fc2"),
        r"head_ln": "head.norm",
        r"hidden": "head.pre_logits.fc",
    }
)
RW_NAMES = renamed(
    TIMM_NAMES
    | {
        rf"{BLOCK}_se_reduce_conv": _block("se_early.fc1"),
        rf"{BLOCK}_se_expand_conv": _block("se_early.fc2"),
        r"head_ln": "norm",
    }
)

row = partial(
    variant,
    source="timm",
    family=FAMILY,
    preprocess=dataclasses.replace(PREPROCESS["tf"], resize=235, interpolation="bicubic"),
    min_input_size=32,
    size_step=32,
    size_reason="it is halved five times, and no pixel may be left over",
)
paper_row = partial(row, source_name=PAPER_NAMES)
rw_row = partial(row, source_name=RW_NAMES)


@paper_row(
    "coatnet_0",
    reference="timm.models.coatnet_0_224",
    params=25_036_820,
    macs=4_546_507_776,
    options={"size": 0},
)
@paper_row(
    "coatnet_1",
    reference="timm.models.coatnet_1_224",
    params=42_225_776,
    macs=8_643_499_008,
    options={"size": 1},
)
@paper_row(
    "coatnet_2",
    reference="timm.models.coatnet_2_224",
    params=74_684_744,
    macs=16_427_134_976,
    options={"size": 2},
)
@paper_row(
    "coatnet_3",
    reference="timm.models.coatnet_3_224",
    params=166_966_264,
    macs=36_453_156_864,
    options={"size": 3},
)
@paper_row(
    "coatnet_4",
    reference="timm.models.coatnet_4_224",
    params=275_425_288,
    macs=62_316_840_960,
    options={"size": 4},
)
def coatnet(image, *, classes, size):
    """Table 3. A dense layer with tanh comes before the classifier."""
    stem_width, widths, depths = SIZES[size]
    x = stem(image, (stem_width, stem_width), activation="gelu")
    for name, kind, width, stride in blocks(widths, depths):
        if kind == "C":
            x = mbconv(x, width, stride=stride, name=name)
        else:
            x = transformer(x, width, stride=stride, inner=width, bias=True, name=name)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    x = layer_norm(x, name="head")
    x = activate(keras.layers.Dense(widths[-1], name="hidden")(x), "tanh", name="hidden")
    return keras.layers.Dense(classes, name="classifier")(x)


@rw_row(
    "coatnet_0_rw",
    reference="timm.models.coatnet_0_rw_224",
    params=27_435_562,
    macs=4_406_300_928,
    options={"depths": (2, 3, 7, 2), "pooled": True},
)
@rw_row(
    "coatnet_1_rw",
    reference="timm.models.coatnet_1_rw_224",
    params=41_721_502,
    macs=7_992_160_512,
    options={"depths": (2, 6, 14, 2), "pooled": False},
)
def coatnet_rw(image, *, classes, depths, pooled):
    """timm's own nets of that shape, with widths of CoAtNet-0.

    pooled: a stage's first convolution block halves by a mean, not by its depthwise convolution.
    """
    x = stem(image, (32, 64), activation="swish")
    for name, kind, width, stride in blocks(SIZES[0][1], depths):
        if kind == "C":
            x = mbconv_rw(x, width, stride=stride, pooled=pooled, name=name)
        else:
            x = transformer(x, width, stride=stride, inner=x.shape[-1], bias=False, name=name)
    x = layer_norm(x, name="head")
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.layers.Dense(classes, name="classifier")(x)


def stem(image, widths, *, activation):
    """S0: two 3x3, the first of stride 2."""
    x = TORCH.conv_norm(image, widths[0], 3, stride=2, activation=activation, name="stem1")
    return TORCH.conv(x, widths[1], 3, name="stem2")


def blocks(widths, depths):
    """(name, kind, width, stride) of each block: C-C-T-T, each stage's first block with stride 2."""
    for stage, (kind, width, depth) in enumerate(zip("CCTT", widths, depths, strict=True), start=1):
        for number in range(1, depth + 1):
            yield f"stage{stage}_block{number}", kind, width, 2 if number == 1 else 1


def shrink(x, width, *, stride, bias, name):
    """The shortcut: means of 2x2, then a 1x1 convolution where the width changes."""
    if stride > 1:
        x = average_pool(x, 2, stride=2, name=f"{name}_shortcut_pool")
    if x.shape[-1] != width:
        x = TORCH.conv(x, width, bias=bias, name=f"{name}_shortcut")
    return x


def mbconv(x, width, *, stride, name):
    """Appendix A.1: a pre-activation inverted residual with squeeze and excitation."""
    shortcut = shrink(x, width, stride=stride, bias=True, name=name)
    x = TORCH.norm(x, name=f"{name}_preact")
    x = TORCH.conv_norm(x, 4 * width, activation="gelu", name=f"{name}_expand")
    x = TORCH.depthwise_norm(x, 3, stride=stride, activation="gelu", name=f"{name}_depthwise")
    x = squeeze_excite(x, width // 4, activation="swish", name=f"{name}_se")
    x = TORCH.conv(x, width, bias=True, name=f"{name}_project")
    return keras.layers.Add(name=f"{name}_add")([shortcut, x])


def mbconv_rw(x, width, *, stride, pooled, name):
    """timm's: widened from the input's width, swish, the gate before the norm, no biases."""
    inner = 4 * x.shape[-1]
    shortcut = shrink(x, width, stride=stride, bias=False, name=name)
    x = activate(TORCH.norm(x, name=f"{name}_preact"), "swish", name=f"{name}_preact")
    if pooled and stride > 1:
        x, stride = average_pool(x, 2, stride=2, name=f"{name}_pool"), 1
    x = TORCH.conv_norm(x, inner, activation="swish", name=f"{name}_expand")
    x = TORCH.depthwise(x, 3, stride=stride, name=f"{name}_depthwise")
    x = squeeze_excite(x, inner // 4, activation="relu", name=f"{name}_se")
    x = activate(TORCH.norm(x, name=f"{name}_depthwise"), "swish", name=f"{name}_depthwise")
    x = TORCH.conv(x, width, name=f"{name}_project")
    return keras.layers.Add(name=f"{name}_add")([shortcut, x])


def transformer(x, width, *, stride, inner, bias, name):
    """Section 2: relative attention of width `inner`, then two 1x1 convolutions, as residual blocks.

    bias: of the shortcut's convolution.
    """
    from edgecls.keras_layers import RelativePositionBias

    shortcut = shrink(x, width, stride=stride, bias=bias, name=name)
    y = layer_norm(x, name=f"{name}_attention")
    if stride > 1:
        y = average_pool(y, 2, stride=2, name=f"{name}_pool")
    side, heads = y.shape[1], inner // HEAD_WIDTH
    y = TORCH.conv(y, 3 * inner, bias=True, name=f"{name}_qkv")
    # The channels of q, k and v lie together for each head.
    y = keras.layers.Reshape((side * side, heads, 3 * HEAD_WIDTH), name=f"{name}_heads")(y)
    q, k, v = keras.ops.split(y, 3, axis=-1)
    y = attend(q, k, v, bias=RelativePositionBias(side=side, name=f"{name}_bias"), name=f"{name}_attention")
    y = keras.layers.Reshape((side, side, inner), name=f"{name}_picture")(y)
    y = TORCH.conv(y, width, bias=True, name=f"{name}_merge")
    x = keras.layers.Add(name=f"{name}_attention_add")([shortcut, y])
    y = layer_norm(x, name=f"{name}_mlp")
    y = activate(TORCH.conv(y, 4 * width, bias=True, name=f"{name}_mlp1"), "gelu", name=f"{name}_mlp1")
    y = TORCH.conv(y, width, bias=True, name=f"{name}_mlp2")
    return keras.layers.Add(name=f"{name}_mlp_add")([x, y])
