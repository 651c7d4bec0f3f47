"""MnasNet: inverted residuals searched against the latency measured on a phone (Tan et al. 2018)."""

from __future__ import annotations

from functools import partial

from edgecls.models._blocks import TORCH as nn
from edgecls.models._blocks import classify, make_divisible
from edgecls.models._mbconv import stages
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="mnasnet",
    title="MnasNet",
    year=2018,
    paper="Tan et al., MnasNet: Platform-Aware Neural Architecture Search for Mobile, arXiv:1807.11626",
    tier=Tier.LIGHT,
    idea="Search expansion, kernel and depth of each stage for accuracy and time on a real phone.",
)

#: The paper's B1, which has no squeeze and excitation: expansion, kernel, channels, repeats, stride of
#: the first.
STAGES = [
    (1, 3, 16, 1, 1),
    (3, 3, 24, 3, 2),
    (3, 5, 40, 3, 2),
    (6, 5, 80, 3, 2),
    (6, 3, 96, 2, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
]

TORCHVISION_PARTS = {
    "expand_conv": 0,
    "expand_bn": 1,
    "depthwise_conv": 3,
    "depthwise_bn": 4,
    "project_conv": 6,
    "project_bn": 7,
}

TORCHVISION_NAMES = renamed({
    r"stem_conv": "layers.0",
    r"stem_bn": "layers.1",
    r"stage1_block1_(\w+)": lambda m: f"layers.{TORCHVISION_PARTS[m[1]]}",
    r"stage(\d)_block(\d)_(\w+)": lambda m: (
        f"layers.{int(m[1]) + 6}.{int(m[2]) - 1}.layers.{TORCHVISION_PARTS[m[3]]}"
    ),
    r"head_conv": "layers.14",
    r"head_bn": "layers.15",
    r"classifier": "classifier.1",
})

torchvision_row = partial(
    variant,
    source="torchvision",
    family=FAMILY,
    source_name=TORCHVISION_NAMES,
    preprocess=PREPROCESS["torch"],
    min_input_size=32,
)


@torchvision_row(
    "mnasnet_050",
    reference="torchvision.models.mnasnet0_5",
    params=2_218_512,
    macs=104_455_968,
    options={"width": 0.5},
)
@torchvision_row(
    "mnasnet_100",
    reference="torchvision.models.mnasnet1_0",
    params=4_383_312,
    macs=314_415_872,
    options={"width": 1.0},
)
def mnasnet(image, *, classes, width):
    """B1, every layer but the last 1x1 convolution `width` times as wide."""
    table = [
        (expansion, kernel, make_divisible(channels * width), repeats, stride)
        for expansion, kernel, channels, repeats, stride in STAGES
    ]
    x = nn.conv_norm(image, make_divisible(32 * width), 3, stride=2, activation="relu", name="stem")
    x = stages(x, table, activation="relu", nn=nn)
    x = nn.conv_norm(x, 1280, activation="relu", name="head")
    return classify(x, classes)
