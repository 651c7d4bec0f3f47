"""MobileNet v2: inverted residuals with linear bottlenecks (Sandler et al. 2018)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from edgecls.models._blocks import TF, TORCH, classify, make_divisible
from edgecls.models._mbconv import TIMM_ENDS, TIMM_INVERTED, TIMM_SEPARABLE, block_number, stages, timm_block
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="mobilenet_v2",
    title="MobileNet v2",
    year=2018,
    paper="Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, arXiv:1801.04381",
    tier=Tier.LIGHT,
    idea="Widen, filter depthwise, narrow again without a nonlinearity; join the narrow ends.",
)

#: Table 2 of the paper: expansion t, output channels c, repeats n, stride s of the first.
STAGES = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]

REPEATS = [repeats for _, _, repeats, _ in STAGES]

KERAS_NAMES = renamed({
    r"stem_conv": "Conv1",
    r"stem_bn": "bn_Conv1",
    r"stage1_block1_(\w+)_conv": r"expanded_conv_\1",
    r"stage1_block1_(\w+)_bn": r"expanded_conv_\1_BN",
    r"stage(\d)_block(\d)_(\w+)_conv": lambda m: f"block_{block_number(m, REPEATS) - 1}_{m[3]}",
    r"stage(\d)_block(\d)_(\w+)_bn": lambda m: f"block_{block_number(m, REPEATS) - 1}_{m[3]}_BN",
    r"head_conv": "Conv_1",
    r"head_bn": "Conv_1_bn",
    r"classifier": "predictions",
})

TIMM_NAMES = renamed(TIMM_ENDS | {
    r"stage(1)_block(\d)_(\w+)": timm_block(TIMM_SEPARABLE),
    r"stage(\d)_block(\d)_(\w+)": timm_block(TIMM_INVERTED),
})

TORCHVISION_PARTS = {
    "expand_conv": "0.0",
    "expand_bn": "0.1",
    "depthwise_conv": "1.0",
    "depthwise_bn": "1.1",
    "project_conv": "2",
    "project_bn": "3",
}

TORCHVISION_NAMES = renamed({
    r"stem_conv": "features.0.0",
    r"stem_bn": "features.0.1",
    r"stage1_block1_depthwise_conv": "features.1.conv.0.0",
    r"stage1_block1_depthwise_bn": "features.1.conv.0.1",
    r"stage1_block1_project_conv": "features.1.conv.1",
    r"stage1_block1_project_bn": "features.1.conv.2",
    r"stage(\d)_block(\d)_(\w+)": lambda m: (
        f"features.{block_number(m, REPEATS)}.conv.{TORCHVISION_PARTS[m[3]]}"
    ),
    r"head_conv": "features.18.0",
    r"head_bn": "features.18.1",
    r"classifier": "classifier.1",
})

row = partial(variant, family=FAMILY, min_input_size=32)
keras_row = partial(row, source="keras", source_name=KERAS_NAMES, preprocess=PREPROCESS["tf"])
timm_row = partial(
    row,
    source="timm",
    source_name=TIMM_NAMES,
    preprocess=replace(PREPROCESS["torch"], interpolation="bicubic"),
)
torchvision_row = partial(
    row, source="torchvision", source_name=TORCHVISION_NAMES, preprocess=PREPROCESS["torch"]
)


@keras_row(
    "mobilenet_v2",
    reference="keras.applications.MobileNetV2(alpha=1.0)",
    params=3_504_872,
    macs=300_774_272,
)
@torchvision_row(
    "mobilenet_v2",
    reference="torchvision.models.mobilenet_v2",
    params=3_504_872,
    macs=300_774_272,
    options={"nn": TORCH},
)
@keras_row(
    "mobilenet_v2_140",
    reference="keras.applications.MobileNetV2(alpha=1.4)",
    params=6_108_776,
    macs=582_195_824,
    options={"width": 1.4},
)
@timm_row(
    "mobilenet_v2_140",
    reference="timm.models.mobilenetv2_140",
    params=6_108_776,
    macs=582_195_824,
    options={"width": 1.4, "nn": TORCH},
)
@keras_row(
    "mobilenet_v2_130",
    reference="keras.applications.MobileNetV2(alpha=1.3)",
    params=5_386_792,
    macs=509_374_560,
    options={"width": 1.3},
)
@keras_row(
    "mobilenet_v2_075",
    reference="keras.applications.MobileNetV2(alpha=0.75)",
    params=2_636_424,
    macs=209_069_792,
    options={"width": 0.75},
)
@keras_row(
    "mobilenet_v2_050",
    reference="keras.applications.MobileNetV2(alpha=0.5)",
    params=1_968_680,
    macs=97_131_840,
    options={"width": 0.5},
)
@timm_row(
    "mobilenet_v2_050",
    reference="timm.models.mobilenetv2_050",
    params=1_968_680,
    macs=97_131_840,
    options={"width": 0.5, "nn": TORCH},
)
@keras_row(
    "mobilenet_v2_035",
    reference="keras.applications.MobileNetV2(alpha=0.35)",
    params=1_677_128,
    macs=59_285_808,
    options={"width": 0.35},
)
@timm_row(
    "mobilenet_v2_035",
    reference="timm.models.mobilenetv2_035",
    params=1_677_128,
    macs=59_285_808,
    options={"width": 0.35, "nn": TORCH},
)
def mobilenet_v2(image, *, classes, width=1.0, nn=TF):
    """Table 2. `width` scales every layer but the last 1x1 convolution, which it only ever widens."""
    table = [
        (expansion, 3, make_divisible(channels * width), repeats, stride)
        for expansion, channels, repeats, stride in STAGES
    ]
    x = nn.conv_norm(image, make_divisible(32 * width), 3, stride=2, activation="relu6", name="stem")
    x = stages(x, table, activation="relu6", nn=nn)
    x = nn.conv_norm(x, make_divisible(1280 * max(width, 1.0)), activation="relu6", name="head")
    return classify(x, classes)
