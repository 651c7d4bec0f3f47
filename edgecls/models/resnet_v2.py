"""ResNet v2: norm and ReLU before each convolution, nothing on the shortcut (He et al. 2016)."""

from __future__ import annotations

import dataclasses
from functools import partial

from edgecls.models._blocks import TORCH, activate, classify, keras, max_pool
from edgecls.models._naming import renamed
from edgecls.models.resnet import BLOCKS, KERAS, WIDTHS
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="resnet_v2",
    title="ResNet v2",
    year=2016,
    paper="He et al., Identity Mappings in Deep Residual Networks, arXiv:1603.05027",
    tier=Tier.HEAVY,
    idea="Keep the shortcut free of norm and ReLU: one clean path carries the signal through all blocks.",
)

KERAS_NAMES = renamed({
    r"stem_conv": "conv1_conv",
    r"stage(\d)_block(\d+)_preact_bn": r"conv\1_block\2_preact_bn",
    r"stage(\d)_block(\d+)_shortcut_conv": r"conv\1_block\2_0_conv",
    r"stage(\d)_block(\d+)_reduce_(conv|bn)": r"conv\1_block\2_1_\3",
    r"stage(\d)_block(\d+)_filter_(conv|bn)": r"conv\1_block\2_2_\3",
    r"stage(\d)_block(\d+)_expand_conv": r"conv\1_block\2_3_conv",
    r"head_bn": "post_bn",
    r"classifier": "predictions",
})


def _block(suffix):
    """timm counts stages and blocks from 0."""
    return lambda m: f"stages.{int(m[1]) - 2}.blocks.{int(m[2]) - 1}.{suffix}"


#: timm numbers a norm with the convolution that follows it; here it is called as the one before.
TIMM_NAMES = renamed({
    r"stem_conv": "stem.conv",
    r"stage(\d)_block(\d+)_preact_bn": _block("norm1"),
    r"stage(\d)_block(\d+)_shortcut_conv": _block("downsample.conv"),
    r"stage(\d)_block(\d+)_(?:first|reduce)_conv": _block("conv1"),
    r"stage(\d)_block(\d+)_(?:first|reduce)_bn": _block("norm2"),
    r"stage(\d)_block(\d+)_(?:second|filter)_conv": _block("conv2"),
    r"stage(\d)_block(\d+)_filter_bn": _block("norm3"),
    r"stage(\d)_block(\d+)_expand_conv": _block("conv3"),
    r"head_bn": "norm",
    r"classifier": "head.fc",
})

row = partial(variant, family=FAMILY, min_input_size=32)
keras_row = partial(row, source="keras", source_name=KERAS_NAMES, preprocess=PREPROCESS["tf"])
timm_row = partial(
    row,
    source="timm",
    source_name=TIMM_NAMES,
    preprocess=dataclasses.replace(PREPROCESS["tf"], resize=235, interpolation="bicubic"),
)
plain_timm_row = partial(
    timm_row, preprocess=dataclasses.replace(PREPROCESS["tf"], resize=248, interpolation="bicubic")
)


@plain_timm_row(
    "resnet18_v2",
    reference="timm.models.resnetv2_18",
    params=11_687_720,
    macs=1_814_073_344,
    options={"depth": 18},
)
@plain_timm_row(
    "resnet34_v2",
    reference="timm.models.resnetv2_34",
    params=21_795_880,
    macs=3_663_761_408,
    options={"depth": 34},
)
def plain_resnet_v2(image, *, classes, depth):
    """Table 1 of the first paper, 18 and 34 layers, with the blocks of this one."""
    x = timm_stem(image)
    for stage, (width, repeats) in enumerate(zip(WIDTHS, BLOCKS[depth], strict=True), start=2):
        for repeat in range(1, repeats + 1):
            stride = 2 if stage > 2 and repeat == 1 else 1
            x = basic(x, width, stride=stride, nn=TORCH, name=f"stage{stage}_block{repeat}")
    return head(x, classes, nn=TORCH)


@keras_row(
    "resnet50_v2",
    reference="keras.applications.ResNet50V2",
    params=25_568_360,
    macs=3_482_255_360,
    options={"depth": 50},
)
@keras_row(
    "resnet101_v2",
    reference="keras.applications.ResNet101V2",
    params=44_577_896,
    macs=7_194_476_544,
    options={"depth": 101},
)
@keras_row(
    "resnet152_v2",
    reference="keras.applications.ResNet152V2",
    params=60_236_904,
    macs=10_906_697_728,
    options={"depth": 152},
)
def resnet_v2_late(image, *, classes, depth):
    """Table 1 of the first paper as TF-Slim and Keras have it: a stage's last block halves the picture."""
    x = KERAS.conv(image, 64, 7, stride=2, bias=True, name="stem")
    x = max_pool(x, 3, stride=2, padding="symmetric", name="stem_pool")  # zeros, though x may be negative
    for stage, (width, repeats) in enumerate(zip(WIDTHS, BLOCKS[depth], strict=True), start=2):
        for repeat in range(1, repeats + 1):
            stride = 2 if stage < 5 and repeat == repeats else 1
            name = f"stage{stage}_block{repeat}"
            x = bottleneck(x, width, stride=stride, project=repeat == 1, bias=True, nn=KERAS, name=name)
    return head(x, classes, nn=KERAS)


@timm_row(
    "resnet50_v2",
    reference="timm.models.resnetv2_50",
    params=25_549_352,
    macs=4_089_184_256,
    options={"depth": 50},
)
@timm_row(
    "resnet101_v2",
    reference="timm.models.resnetv2_101",
    params=44_541_480,
    macs=7_801_405_440,
    options={"depth": 101},
)
@timm_row(
    "resnet152_v2",
    reference="timm.models.resnetv2_152",
    params=60_185_128,
    macs=11_513_626_624,
    options={"depth": 152},
)
def resnet_v2(image, *, classes, depth):
    """The same as its authors have it: a stage's first block halves the picture."""
    x = timm_stem(image)
    for stage, (width, repeats) in enumerate(zip(WIDTHS, BLOCKS[depth], strict=True), start=2):
        for repeat in range(1, repeats + 1):
            stride = 2 if stage > 2 and repeat == 1 else 1
            name = f"stage{stage}_block{repeat}"
            x = bottleneck(x, width, stride=stride, project=repeat == 1, nn=TORCH, name=name)
    return head(x, classes, nn=TORCH)


def timm_stem(image):
    x = TORCH.conv(image, 64, 7, stride=2, name="stem")
    # PyTorch pads a max pool with -inf. A border mirrored into the window adds no new value to it.
    x = keras.ops.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect")
    return max_pool(x, 3, stride=2, name="stem_pool")


def head(x, classes, *, nn):
    return classify(activate(nn.norm(x, name="head"), "relu", name="head"), classes)


def basic(x, channels, *, stride, nn, name):
    """Figure 4e with two 3x3 convolutions."""
    y = activate(nn.norm(x, name=f"{name}_preact"), "relu", name=f"{name}_preact")
    if stride > 1 or x.shape[-1] != channels:
        x = nn.conv(y, channels, stride=stride, name=f"{name}_shortcut")
    y = nn.conv_norm(y, channels, 3, stride=stride, activation="relu", name=f"{name}_first")
    y = nn.conv(y, channels, 3, name=f"{name}_second")
    return keras.layers.Add(name=f"{name}_add")([x, y])


def bottleneck(x, width, *, stride, project, bias=False, nn, name):
    """Figure 4e with 1x1, 3x3, 1x1 to four times `width`.

    project: a 1x1 convolution of the activated input as shortcut, else the input or every
        second pixel of it; bias: of the convolutions that no norm follows.
    """
    y = activate(nn.norm(x, name=f"{name}_preact"), "relu", name=f"{name}_preact")
    if project:
        x = nn.conv(y, 4 * width, stride=stride, bias=bias, name=f"{name}_shortcut")
    elif stride > 1:
        x = max_pool(x, 1, stride=stride, name=f"{name}_shortcut")
    y = nn.conv_norm(y, width, activation="relu", name=f"{name}_reduce")
    y = nn.conv_norm(y, width, 3, stride=stride, activation="relu", name=f"{name}_filter")
    y = nn.conv(y, 4 * width, bias=bias, name=f"{name}_expand")
    return keras.layers.Add(name=f"{name}_add")([x, y])
