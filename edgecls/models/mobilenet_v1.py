"""MobileNet v1: every 3x3 convolution split into a depthwise and a 1x1 one (Howard et al. 2017)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from edgecls.models._blocks import TF, TORCH, classify, make_divisible
from edgecls.models._mbconv import TIMM_ENDS, block_number, timm_block
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="mobilenet_v1",
    title="MobileNet v1",
    year=2017,
    paper="Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile Vision "
    "Applications, arXiv:1704.04861",
    tier=Tier.LIGHT,
    idea="Filter each channel alone, mix channels with 1x1 convolutions: a ninth of the work of 3x3.",
)

#: Table 1 of the paper, blocks of equal width together: channels, repeats, stride of the first. (The
#: last block's second stride is a slip there: its output is as large as its input.)
STAGES = [
    (64, 1, 1),
    (128, 2, 2),
    (256, 2, 2),
    (512, 6, 2),
    (1024, 2, 2),
]

REPEATS = [repeats for _, repeats, _ in STAGES]

KERAS_NAMES = renamed({
    r"stem_conv": "conv1",
    r"stem_bn": "conv1_bn",
    r"stage(\d)_block(\d)_depthwise_conv": lambda m: f"conv_dw_{block_number(m, REPEATS)}",
    r"stage(\d)_block(\d)_depthwise_bn": lambda m: f"conv_dw_{block_number(m, REPEATS)}_bn",
    r"stage(\d)_block(\d)_pointwise_conv": lambda m: f"conv_pw_{block_number(m, REPEATS)}",
    r"stage(\d)_block(\d)_pointwise_bn": lambda m: f"conv_pw_{block_number(m, REPEATS)}_bn",
    r"classifier": "conv_preds",
})

TIMM_PARTS = {
    "depthwise_conv": "conv_dw",
    "depthwise_bn": "bn1",
    "pointwise_conv": "conv_pw",
    "pointwise_bn": "bn2",
}

TIMM_NAMES = renamed(TIMM_ENDS | {r"stage(\d)_block(\d)_(\w+)": timm_block(TIMM_PARTS)})

row = partial(variant, family=FAMILY, min_input_size=32)
keras_row = partial(row, source="keras", source_name=KERAS_NAMES, preprocess=PREPROCESS["tf"])
timm_row = partial(
    row,
    source="timm",
    source_name=TIMM_NAMES,
    preprocess=replace(PREPROCESS["tf"], interpolation="bicubic"),
)


@keras_row(
    "mobilenet_v1",
    reference="keras.applications.MobileNet(alpha=1.0)",
    params=4_231_976,
    macs=568_740_352,
)
@timm_row(
    "mobilenet_v1",
    reference="timm.models.mobilenetv1_100",
    params=4_231_976,
    macs=568_740_352,
    options={"nn": TORCH},
)
@keras_row(
    "mobilenet_v1_075",
    reference="keras.applications.MobileNet(alpha=0.75)",
    params=2_585_560,
    macs=325_400_448,
    options={"width": 0.75},
)
@timm_row(
    "mobilenet_v1_075",
    reference="timm.models.efficientnet._gen_mobilenet_v1('', channel_multiplier=0.75)",
    params=2_585_560,
    macs=325_400_448,
    options={"width": 0.75, "nn": TORCH},
)
@keras_row(
    "mobilenet_v1_050",
    reference="keras.applications.MobileNet(alpha=0.5)",
    params=1_331_592,
    macs=149_497_088,
    options={"width": 0.5},
)
@timm_row(
    "mobilenet_v1_050",
    reference="timm.models.efficientnet._gen_mobilenet_v1('', channel_multiplier=0.5)",
    params=1_331_592,
    macs=149_497_088,
    options={"width": 0.5, "nn": TORCH},
)
@keras_row(
    "mobilenet_v1_025",
    reference="keras.applications.MobileNet(alpha=0.25)",
    params=470_072,
    macs=41_030_272,
    options={"width": 0.25},
)
@timm_row(
    "mobilenet_v1_025",
    reference="timm.models.efficientnet._gen_mobilenet_v1('', channel_multiplier=0.25)",
    params=470_072,
    macs=41_030_272,
    options={"width": 0.25, "nn": TORCH},
)
def mobilenet_v1(image, *, classes, width=1.0, nn=TF):
    """Table 1, every layer `width` times as wide."""
    x = nn.conv_norm(image, make_divisible(32 * width), 3, stride=2, activation="relu6", name="stem")
    for stage, (channels, repeats, stride) in enumerate(STAGES, start=1):
        for block in range(1, repeats + 1):
            x = separable(
                x,
                make_divisible(channels * width),
                stride=stride if block == 1 else 1,
                nn=nn,
                name=f"stage{stage}_block{block}",
            )
    return classify(x, classes)


def separable(x, channels, *, stride, nn, name):
    """Figure 3, right: 3x3 depthwise, then 1x1, each with batch norm and ReLU6."""
    x = nn.depthwise_norm(x, 3, stride=stride, activation="relu6", name=f"{name}_depthwise")
    return nn.conv_norm(x, channels, activation="relu6", name=f"{name}_pointwise")
