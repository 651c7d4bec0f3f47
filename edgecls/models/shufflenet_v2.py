"""ShuffleNet v2: channel split, equal widths, concatenation, shuffle (Ma et al. 2018)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from edgecls.models._blocks import TORCH as nn
from edgecls.models._blocks import channel_shuffle, classify, keras, max_pool
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="shufflenet_v2",
    title="ShuffleNet v2",
    year=2018,
    paper="Ma et al., ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, "
    "arXiv:1807.11164",
    tier=Tier.LIGHT,
    idea="Leave half of the channels alone, filter the other half at equal width, join and shuffle.",
)

#: Table 5 of the paper: output channels of Conv1, Stage2, Stage3, Stage4, Conv5 by width.
WIDTHS = {
    0.5: (24, 48, 96, 192, 1024),
    1.0: (24, 116, 232, 464, 1024),
    1.5: (24, 176, 352, 704, 1024),
    2.0: (24, 244, 488, 976, 2048),
}

#: Table 5 of the paper: blocks in Stage2, Stage3, Stage4; the first of each has stride 2.
REPEATS = (4, 8, 4)

#: Our convolution within a block -> torchvision's convolution and its batch norm.
TORCHVISION_BLOCK = {
    "left_depthwise": ("branch1.0", "branch1.1"),
    "left_pointwise": ("branch1.2", "branch1.3"),
    "right_pointwise1": ("branch2.0", "branch2.1"),
    "right_depthwise": ("branch2.3", "branch2.4"),
    "right_pointwise2": ("branch2.5", "branch2.6"),
}

TORCHVISION_NAMES = renamed({
    r"stem_conv": "conv1.0",
    r"stem_bn": "conv1.1",
    r"stage(\d)_block(\d)_(\w+)_conv": lambda m: f"stage{m[1]}.{int(m[2]) - 1}.{TORCHVISION_BLOCK[m[3]][0]}",
    r"stage(\d)_block(\d)_(\w+)_bn": lambda m: f"stage{m[1]}.{int(m[2]) - 1}.{TORCHVISION_BLOCK[m[3]][1]}",
    r"head_conv": "conv5.0",
    r"head_bn": "conv5.1",
    r"classifier": "fc",
})

torchvision = partial(
    variant, source="torchvision", family=FAMILY, source_name=TORCHVISION_NAMES, min_input_size=32
)


@torchvision(
    "shufflenet_v2_x0_5",
    reference="torchvision.models.shufflenet_v2_x0_5",
    params=1_366_792,
    macs=40_476_448,
    preprocess=PREPROCESS["torch"],
    options={"width": 0.5},
)
@torchvision(
    "shufflenet_v2_x1_0",
    reference="torchvision.models.shufflenet_v2_x1_0",
    params=2_278_604,
    macs=144_907_992,
    preprocess=PREPROCESS["torch"],
    options={"width": 1.0},
)
@torchvision(
    "shufflenet_v2_x1_5",
    reference="torchvision.models.shufflenet_v2_x1_5",
    params=3_503_624,
    macs=295_759_392,
    preprocess=replace(PREPROCESS["torch"], resize=232),
    options={"width": 1.5},
)
@torchvision(
    "shufflenet_v2_x2_0",
    reference="torchvision.models.shufflenet_v2_x2_0",
    params=7_393_996,
    macs=583_253_464,
    preprocess=replace(PREPROCESS["torch"], resize=232),
    options={"width": 2.0},
)
def shufflenet_v2(image, *, classes, width):
    """Table 5, at one of the widths in `WIDTHS`."""
    stem, *stages, head = WIDTHS[width]
    x = nn.conv_norm(image, stem, 3, stride=2, activation="relu", name="stem")
    x = max_pool(x, 3, stride=2, padding="symmetric", name="stem_pool")
    for stage, (channels, repeats) in enumerate(zip(stages, REPEATS, strict=True), start=2):
        for block in range(1, repeats + 1):
            x = shuffle_block(x, channels, downsample=block == 1, name=f"stage{stage}_block{block}")
    x = nn.conv_norm(x, head, activation="relu", name="head")
    return classify(x, classes)


def shuffle_block(x, channels, *, downsample, name):
    """Figure 3c, where the left half of the channels passes through; 3d with `downsample`, where
    both branches see every channel and have stride 2."""
    stride = 2 if downsample else 1
    if downsample:
        left = nn.depthwise_norm(x, 3, stride=2, name=f"{name}_left_depthwise")
        left = nn.conv_norm(left, channels // 2, activation="relu", name=f"{name}_left_pointwise")
        right = x
    else:
        left, right = keras.ops.split(x, 2, axis=-1)
    right = nn.conv_norm(right, channels // 2, activation="relu", name=f"{name}_right_pointwise1")
    right = nn.depthwise_norm(right, 3, stride=stride, name=f"{name}_right_depthwise")
    right = nn.conv_norm(right, channels // 2, activation="relu", name=f"{name}_right_pointwise2")
    x = keras.layers.Concatenate(name=f"{name}_concat")([left, right])
    return channel_shuffle(x, 2, name=f"{name}_shuffle")
