"""MobileNet v4: one block that can be four, searched for many kinds of hardware (Qin et al. 2024)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from edgecls.models._blocks import TORCH as nn
from edgecls.models._blocks import keras
from edgecls.models._mbconv import TIMM_ENDS, timm_block
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="mobilenet_v4",
    title="MobileNet v4",
    year=2024,
    paper="Qin et al., MobileNetV4: Universal Models for the Mobile Ecosystem, arXiv:2404.10518",
    tier=Tier.LIGHT,
    idea="An inverted residual with a depthwise convolution before it, inside it, both or neither.",
)

STEMS = {"small": 32, "medium": 32, "large": 24}

#: The paper's tables of MNv4-Conv: fused blocks at the start as (expanded channels, output channels).
FUSED = {
    "small": [(32, 32), (96, 64)],
    "medium": [(128, 48)],
    "large": [(96, 48)],
}

#: The same tables: kernels of the two depthwise convolutions (0: none), expanded channels, output
#: channels, stride.
BLOCKS = {
    "small": [
        [
            (5, 5, 192, 96, 2),
            (0, 3, 192, 96, 1),
            (0, 3, 192, 96, 1),
            (0, 3, 192, 96, 1),
            (0, 3, 192, 96, 1),
            (3, 0, 384, 96, 1),
        ],
        [
            (3, 3, 576, 128, 2),
            (5, 5, 512, 128, 1),
            (0, 5, 512, 128, 1),
            (0, 5, 384, 128, 1),
            (0, 3, 512, 128, 1),
            (0, 3, 512, 128, 1),
        ],
    ],
    "medium": [
        [
            (3, 5, 192, 80, 2),
            (3, 3, 160, 80, 1),
        ],
        [
            (3, 5, 480, 160, 2),
            (3, 3, 640, 160, 1),
            (3, 3, 640, 160, 1),
            (3, 5, 640, 160, 1),
            (3, 3, 640, 160, 1),
            (3, 0, 640, 160, 1),
            (0, 0, 320, 160, 1),
            (3, 0, 640, 160, 1),
        ],
        [
            (5, 5, 960, 256, 2),
            (5, 5, 1024, 256, 1),
            (3, 5, 1024, 256, 1),
            (3, 5, 1024, 256, 1),
            (0, 0, 1024, 256, 1),
            (3, 0, 1024, 256, 1),
            (3, 5, 512, 256, 1),
            (5, 5, 1024, 256, 1),
            (0, 0, 1024, 256, 1),
            (0, 0, 1024, 256, 1),
            (5, 0, 512, 256, 1),
        ],
    ],
    "large": [
        [
            (3, 5, 192, 96, 2),
            (3, 3, 384, 96, 1),
        ],
        [
            (3, 5, 384, 192, 2),
            (3, 3, 768, 192, 1),
            (3, 3, 768, 192, 1),
            (3, 3, 768, 192, 1),
            (3, 5, 768, 192, 1),
            (5, 3, 768, 192, 1),
            (5, 3, 768, 192, 1),
            (5, 3, 768, 192, 1),
            (5, 3, 768, 192, 1),
            (5, 3, 768, 192, 1),
            (3, 0, 768, 192, 1),
        ],
        [
            (5, 5, 768, 512, 2),
            (5, 5, 2048, 512, 1),
            (5, 5, 2048, 512, 1),
            (5, 5, 2048, 512, 1),
            (5, 0, 2048, 512, 1),
            (5, 3, 2048, 512, 1),
            (5, 0, 2048, 512, 1),
            (5, 0, 2048, 512, 1),
            (5, 3, 2048, 512, 1),
            (5, 5, 2048, 512, 1),
            (5, 0, 2048, 512, 1),
            (5, 0, 2048, 512, 1),
            (5, 0, 2048, 512, 1),
        ],
    ],
}

UIB_PARTS = {
    "start_conv": "dw_start.conv",
    "start_bn": "dw_start.bn",
    "expand_conv": "pw_exp.conv",
    "expand_bn": "pw_exp.bn",
    "depthwise_conv": "dw_mid.conv",
    "depthwise_bn": "dw_mid.bn",
    "project_conv": "pw_proj.conv",
    "project_bn": "pw_proj.bn",
}
#: Of a fused block; timm writes those of the small net as two blocks of one convolution each.
FUSED_PARTS = {
    "fused_conv": "0.conv_exp",
    "fused_bn": "0.bn1",
    "project_conv": "0.conv_pwl",
    "project_bn": "0.bn2",
}
SMALL_FUSED_PARTS = {
    "fused_conv": "0.conv",
    "fused_bn": "0.bn1",
    "project_conv": "1.conv",
    "project_bn": "1.bn1",
}


def timm_names(size):
    fused = len(FUSED[size])
    parts = SMALL_FUSED_PARTS if size == "small" else FUSED_PARTS
    head = f"blocks.{fused + len(BLOCKS[size])}.0"
    return renamed(TIMM_ENDS | {
        rf"stage([1-{fused}])_block1_(\w+)": lambda m: f"blocks.{int(m[1]) - 1}.{parts[m[2]]}",
        r"stage(\d)_block(\d+)_(\w+)": timm_block(UIB_PARTS),
        r"head_conv": f"{head}.conv",
        r"head_bn": f"{head}.bn1",
        r"hidden_conv": "conv_head",
        r"hidden_bn": "norm_head",
    })


def bicubic(resize, crop):
    return replace(PREPROCESS["torch"], resize=resize, crop=crop, interpolation="bicubic")


timm_row = partial(variant, source="timm", family=FAMILY, min_input_size=32)


@timm_row(
    "mobilenet_v4_conv_small",
    reference="timm.models.mobilenetv4_conv_small",
    source_name=timm_names("small"),
    params=3_774_024,
    macs=186_005_568,
    preprocess=bicubic(256, 224),
    options={"size": "small"},
)
@timm_row(
    "mobilenet_v4_conv_medium",
    reference="timm.models.mobilenetv4_conv_medium",
    source_name=timm_names("medium"),
    params=9_715_512,
    macs=1_080_244_224,
    preprocess=bicubic(269, 256),
    options={"size": "medium"},
)
@timm_row(
    "mobilenet_v4_conv_large",
    reference="timm.models.mobilenetv4_conv_large",
    source_name=timm_names("large"),
    params=32_590_864,
    macs=6_376_220_672,
    preprocess=bicubic(404, 384),
    options={"size": "large"},
)
def mobilenet_v4_conv(image, *, classes, size):
    """MNv4-Conv-S, -M or -L."""
    x = nn.conv_norm(image, STEMS[size], 3, stride=2, activation="relu", name="stem")
    for stage, (expanded, channels) in enumerate(FUSED[size], start=1):
        x = nn.conv_norm(x, expanded, 3, stride=2, activation="relu", name=f"stage{stage}_block1_fused")
        nonlinear = "relu" if size == "small" else None
        x = nn.conv_norm(x, channels, activation=nonlinear, name=f"stage{stage}_block1_project")
    for stage, blocks in enumerate(BLOCKS[size], start=len(FUSED[size]) + 1):
        for block, row in enumerate(blocks, start=1):
            x = universal_inverted_bottleneck(x, *row, name=f"stage{stage}_block{block}")
    x = nn.conv_norm(x, 960, activation="relu", name="head")
    x = keras.layers.GlobalAveragePooling2D(keepdims=True, name="head_pool")(x)
    x = nn.conv_norm(x, 1280, activation="relu", name="hidden")
    x = keras.layers.Flatten(name="flatten")(x)
    return keras.layers.Dense(classes, name="classifier")(x)


def universal_inverted_bottleneck(x, start, middle, expanded, channels, stride, *, name):
    """Figure 4: an inverted residual with depthwise kernels `start` before it and `middle` inside it;
    0 leaves one out. The later of the two has the stride; the first has no nonlinearity."""
    shortcut = x
    if start:
        x = nn.depthwise_norm(x, start, stride=1 if middle else stride, name=f"{name}_start")
    x = nn.conv_norm(x, expanded, activation="relu", name=f"{name}_expand")
    if middle:
        x = nn.depthwise_norm(x, middle, stride=stride, activation="relu", name=f"{name}_depthwise")
    x = nn.conv_norm(x, channels, name=f"{name}_project")
    if stride == 1 and shortcut.shape[-1] == channels:
        x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return x
