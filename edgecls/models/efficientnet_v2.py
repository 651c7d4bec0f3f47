"""EfficientNet v2: full convolutions where depthwise ones are slow, at the start (Tan, Le 2021)."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from edgecls.models._blocks import TF, classify, keras
from edgecls.models._mbconv import TIMM_ENDS, TIMM_INVERTED, inverted_residual, timm_block, torchvision_part
from edgecls.models._naming import renamed
from edgecls.models.efficientnet import (
    KERAS_PARTS,
    SCALES,
    TORCH_TF_EPSILON,
    bicubic,
    keras_block,
    squeeze_to_quarter,
)
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Preprocess, Tier

FAMILY = Family(
    name="efficientnet_v2",
    title="EfficientNet v2",
    year=2021,
    paper="Tan, Le, EfficientNetV2: Smaller Models and Faster Training, arXiv:2104.00298",
    tier=Tier.LIGHT,
    idea="Early stages fuse the 1x1 and the depthwise convolution into one 3x3; searched for speed.",
)

#: Table 4 of the paper ("s") and the authors' code ("b"): fused or not, expansion, channels, layers,
#: stride of the first. Every kernel is 3x3.
STAGES = {
    "b": [
        (True, 1, 16, 1, 1),
        (True, 4, 32, 2, 2),
        (True, 4, 48, 2, 2),
        (False, 4, 96, 3, 2),
        (False, 6, 112, 5, 1),
        (False, 6, 192, 8, 2),
    ],
    "s": [
        (True, 1, 24, 2, 1),
        (True, 4, 48, 4, 2),
        (True, 4, 64, 4, 2),
        (False, 4, 128, 6, 2),
        (False, 6, 160, 9, 1),
        (False, 6, 256, 15, 2),
    ],
}

STEMS = {"b": 32, "s": 24}


KERAS_NAMES = renamed({
    r"stem_(conv|bn)": r"stem_\1",
    r"stage(1)_block(\d+)_(\w+)": keras_block({"fused_conv": "project_conv", "fused_bn": "project_bn"}),
    r"stage(\d)_block(\d+)_(\w+)": keras_block(
        KERAS_PARTS | {"fused_conv": "expand_conv", "fused_bn": "expand_bn", "depthwise_conv": "dwconv2"}
    ),
    r"head_(conv|bn)": r"top_\1",
    r"classifier": "predictions",
})

TIMM_FUSED = {"fused_conv": "conv_exp", "fused_bn": "bn1", "project_conv": "conv_pwl", "project_bn": "bn2"}

TIMM_NAMES = renamed(TIMM_ENDS | {
    r"stage(1)_block(\d+)_(\w+)": timm_block({"fused_conv": "conv", "fused_bn": "bn1"}),
    r"stage([23])_block(\d+)_(\w+)": timm_block(TIMM_FUSED),
    r"stage(\d)_block(\d+)_(\w+)": timm_block(TIMM_INVERTED),
})


def torchvision_block(m):
    modules = ["fused", "project"] if int(m[1]) <= 3 else ["expand", "depthwise", "se", "project"]
    return f"features.{m[1]}.{int(m[2]) - 1}.{torchvision_part(m[3], modules)}"


TORCHVISION_NAMES = renamed({
    r"stem_conv": "features.0.0",
    r"stem_bn": "features.0.1",
    r"stage(\d)_block(\d+)_(\w+)": torchvision_block,
    r"head_conv": "features.7.0",
    r"head_bn": "features.7.1",
    r"classifier": "classifier.1",
})

row = partial(variant, family=FAMILY, min_input_size=32)
keras_row = partial(row, source="keras", source_name=KERAS_NAMES)


@keras_row(
    "efficientnet_v2_b0",
    reference="keras.applications.EfficientNetV2B0",
    params=7_139_704,
    macs=718_086_176,
    preprocess=bicubic(224),
    options={"net": "b", "scale": "b0"},
)
@row(
    "efficientnet_v2_b0",
    source="timm",
    reference="timm.models.tf_efficientnetv2_b0",
    source_name=TIMM_NAMES,
    params=7_139_704,
    macs=718_086_176,
    preprocess=bicubic(224),
    options={"net": "b", "scale": "b0"},
)
@keras_row(
    "efficientnet_v2_b1",
    reference="keras.applications.EfficientNetV2B1",
    params=8_141_052,
    macs=1_196_819_360,
    preprocess=bicubic(240),
    options={"net": "b", "scale": "b1"},
)
@keras_row(
    "efficientnet_v2_b2",
    reference="keras.applications.EfficientNetV2B2",
    params=10_096_086,
    macs=1_697_542_832,
    preprocess=bicubic(260),
    options={"net": "b", "scale": "b2"},
)
@keras_row(
    "efficientnet_v2_b3",
    reference="keras.applications.EfficientNetV2B3",
    params=14_358_406,
    macs=3_011_458_816,
    preprocess=bicubic(300),
    options={"net": "b", "scale": "b3"},
)
@row(
    "efficientnet_v2_s",
    source="torchvision",
    reference="torchvision.models.efficientnet_v2_s",
    source_name=TORCHVISION_NAMES,
    params=21_458_488,
    macs=8_365_617_152,
    preprocess=replace(PREPROCESS["torch"], resize=384, crop=384),
    options={"net": "s", "nn": TORCH_TF_EPSILON},
)
@keras_row(
    "efficientnet_v2_s",
    reference="keras.applications.EfficientNetV2S",
    params=21_458_488,
    macs=8_365_617_152,
    preprocess=Preprocess(resize=384, crop=384, mean=(128.0,) * 3, std=(128.0,) * 3, interpolation="bicubic"),
    options={"net": "s"},
)
def efficientnet_v2(image, *, classes, net, scale="b0", nn=TF):
    """`STAGES[net]` at EfficientNet's width and depth of `scale`, layers rounded up."""
    width, depth = SCALES[scale]

    def scaled(channels):
        """To the nearest 8; the authors dropped the rule that spares small layers."""
        return int(channels * width + 4) // 8 * 8

    x = nn.conv_norm(image, scaled(STEMS[net]), 3, stride=2, activation="swish", name="stem")
    for stage, (fused, expansion, channels, layers, stride) in enumerate(STAGES[net], start=1):
        for block in range(1, math.ceil(layers * depth) + 1):
            options = {
                "expanded": expansion * x.shape[-1],
                "stride": stride if block == 1 else 1,
                "nn": nn,
                "name": f"stage{stage}_block{block}",
            }
            if fused:
                x = fused_inverted_residual(x, scaled(channels), **options)
            else:
                squeeze = squeeze_to_quarter(x.shape[-1])
                x = inverted_residual(
                    x, scaled(channels), kernel=3, activation="swish", squeeze=squeeze, **options
                )
    x = nn.conv_norm(x, scaled(1280), activation="swish", name="head")
    return classify(x, classes)


def fused_inverted_residual(x, channels, *, expanded, stride, nn, name):
    """Figure 2, right: one 3x3 convolution to `expanded` channels, linear 1x1 down; without expansion
    the 3x3 alone. A shortcut where shapes agree."""
    shortcut, widens = x, expanded != x.shape[-1]
    width = expanded if widens else channels
    x = nn.conv_norm(x, width, 3, stride=stride, activation="swish", name=f"{name}_fused")
    if widens:
        x = nn.conv_norm(x, channels, name=f"{name}_project")
    if stride == 1 and shortcut.shape[-1] == channels:
        x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return x
