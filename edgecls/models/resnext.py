"""ResNeXt: residual blocks whose 3x3 convolution works in many narrow groups (Xie et al. 2016)."""

from __future__ import annotations

import dataclasses
from functools import partial

from edgecls.models import resnet
from edgecls.models._blocks import TORCH, classify
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="resnext",
    title="ResNeXt",
    year=2016,
    paper="Xie et al., Aggregated Residual Transformations for Deep Neural Networks, arXiv:1611.05431",
    tier=Tier.HEAVY,
    idea="Many narrow paths beside each other instead of a wide one: cardinality beside depth and width.",
)

row = partial(variant, family=FAMILY, source_name=renamed(resnet.TORCH_NAMES), min_input_size=32)
torchvision_row = partial(row, source="torchvision", preprocess=PREPROCESS["torch"])


@torchvision_row(
    "resnext50_32x4d",
    reference="torchvision.models.resnext50_32x4d",
    params=25_028_904,
    macs=4_230_479_872,
    options={"depth": 50, "groups": 32, "group_width": 4},
)
@row(
    "resnext101_32x4d",
    source="timm",
    reference="timm.models.resnext101_32x4d",
    params=44_177_704,
    macs=7_969_996_800,
    preprocess=dataclasses.replace(PREPROCESS["torch"], interpolation="bicubic"),
    options={"depth": 101, "groups": 32, "group_width": 4},
)
@torchvision_row(
    "resnext101_32x8d",
    reference="torchvision.models.resnext101_32x8d",
    params=88_791_336,
    macs=16_414_015_488,
    options={"depth": 101, "groups": 32, "group_width": 8},
)
@torchvision_row(
    "resnext101_64x4d",
    reference="torchvision.models.resnext101_64x4d",
    params=83_455_272,
    macs=15_460_270_080,
    preprocess=dataclasses.replace(PREPROCESS["torch"], resize=232),
    options={"depth": 101, "groups": 64, "group_width": 4},
)
def resnext(image, *, classes, depth, groups, group_width):
    """Table 1. group_width: channels of a group in the first stage, doubled in each that follows."""
    x = resnet.stem(image, nn=TORCH)
    for width, stride, name in resnet.blocks(depth):
        inner = groups * group_width * width // resnet.WIDTHS[0]
        x = resnet.bottleneck(x, inner, 4 * width, stride=stride, groups=groups, nn=TORCH, name=name)
    return classify(x, classes)
