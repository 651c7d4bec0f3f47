"""ResNet v1: residual blocks that learn a correction to their input (He et al. 2015)."""

from __future__ import annotations

from functools import partial

from edgecls.models._blocks import TORCH, Lineage, activate, classify, keras, max_pool
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="resnet",
    title="ResNet v1",
    year=2015,
    paper="He et al., Deep Residual Learning for Image Recognition, arXiv:1512.03385",
    tier=Tier.HEAVY,
    idea="Add each block's input to its output, so that depth can only refine what is there.",
)

#: Table 1 of the paper: width of the stages conv2_x to conv5_x, and blocks in each by depth.
WIDTHS = (64, 128, 256, 512)
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}

#: Keras's pads are symmetric although it is TensorFlow's lineage: the paper's Caffe weights were ported.
KERAS = Lineage("symmetric", 1.001e-5)

KERAS_NAMES = renamed({
    r"stem_(conv|bn)": r"conv1_\1",
    r"stage(\d)_block(\d+)_shortcut_(conv|bn)": r"conv\1_block\2_0_\3",
    r"stage(\d)_block(\d+)_reduce_(conv|bn)": r"conv\1_block\2_1_\3",
    r"stage(\d)_block(\d+)_filter_(conv|bn)": r"conv\1_block\2_2_\3",
    r"stage(\d)_block(\d+)_expand_(conv|bn)": r"conv\1_block\2_3_\3",
    r"classifier": "predictions",
})


def torch_block(suffix):
    """Torch counts stages from layer1 and blocks from 0."""
    return lambda m: f"layer{int(m[1]) - 1}.{int(m[2]) - 1}.{m.expand(suffix)}"


#: Of torchvision's residual networks and those that took over its names.
TORCH_NAMES = {
    r"stem_conv": "conv1",
    r"stem_bn": "bn1",
    r"stage(\d)_block(\d+)_shortcut_conv": torch_block("downsample.0"),
    r"stage(\d)_block(\d+)_shortcut_bn": torch_block("downsample.1"),
    r"stage(\d)_block(\d+)_(?:first|reduce)_(conv|bn)": torch_block(r"\g<3>1"),
    r"stage(\d)_block(\d+)_(?:second|filter)_(conv|bn)": torch_block(r"\g<3>2"),
    r"stage(\d)_block(\d+)_expand_(conv|bn)": torch_block(r"\g<3>3"),
    r"classifier": "fc",
}

row = partial(variant, family=FAMILY, min_input_size=32)
keras_row = partial(row, source="keras", source_name=KERAS_NAMES, preprocess=PREPROCESS["caffe"])
torch_row = partial(
    row, source="torchvision", source_name=renamed(TORCH_NAMES), preprocess=PREPROCESS["torch"]
)


@torch_row(
    "resnet18",
    reference="torchvision.models.resnet18",
    params=11_689_512,
    macs=1_814_073_344,
    options={"depth": 18},
)
@torch_row(
    "resnet34",
    reference="torchvision.models.resnet34",
    params=21_797_672,
    macs=3_663_761_408,
    options={"depth": 34},
)
def plain_resnet(image, *, classes, depth):
    """Table 1, 18 and 34 layers: blocks of two 3x3 convolutions."""
    x = stem(image, nn=TORCH)
    for width, stride, name in blocks(depth):
        x = basic(x, width, stride=stride, nn=TORCH, name=name)
    return classify(x, classes)


@keras_row(
    "resnet50",
    reference="keras.applications.ResNet50",
    params=25_583_592,
    macs=3_857_973_248,
    options={"depth": 50, "nn": KERAS, "bias": True, "strided": "reduce"},
)
@torch_row(
    "resnet50",
    reference="torchvision.models.resnet50",
    params=25_557_032,
    macs=4_089_184_256,
    options={"depth": 50},
)
@keras_row(
    "resnet101",
    reference="keras.applications.ResNet101",
    params=44_601_832,
    macs=7_570_194_432,
    options={"depth": 101, "nn": KERAS, "bias": True, "strided": "reduce"},
)
@torch_row(
    "resnet101",
    reference="torchvision.models.resnet101",
    params=44_549_160,
    macs=7_801_405_440,
    options={"depth": 101},
)
@keras_row(
    "resnet152",
    reference="keras.applications.ResNet152",
    params=60_268_520,
    macs=11_282_415_616,
    options={"depth": 152, "nn": KERAS, "bias": True, "strided": "reduce"},
)
@torch_row(
    "resnet152",
    reference="torchvision.models.resnet152",
    params=60_192_808,
    macs=11_513_626_624,
    options={"depth": 152},
)
def resnet(image, *, classes, depth, nn=TORCH, bias=False, strided="filter"):
    """Table 1, 50 layers and more: bottlenecks of 1x1, 3x3, 1x1.

    bias: of the convolutions; strided: which convolution of a stage's first bottleneck halves the
    picture, "reduce" as in the paper or "filter", which sees every pixel.
    """
    x = stem(image, nn=nn, bias=bias)
    for width, stride, name in blocks(depth):
        x = bottleneck(x, width, 4 * width, stride=stride, nn=nn, bias=bias, strided=strided, name=name)
    return classify(x, classes)


def stem(image, *, nn, bias=False):
    """conv1 and the pool of conv2_x: a quarter of the side."""
    x = nn.conv_norm(image, 64, 7, stride=2, bias=bias, activation="relu", name="stem")
    return max_pool(x, 3, stride=2, padding="symmetric", name="stem_pool")


def blocks(depth):
    """(width, stride, name) of each block of Table 1."""
    for stage, (width, repeats) in enumerate(zip(WIDTHS, BLOCKS[depth], strict=True), start=2):
        for repeat in range(1, repeats + 1):
            yield width, 2 if stage > 2 and repeat == 1 else 1, f"stage{stage}_block{repeat}"


def basic(x, channels, *, stride, nn, name):
    """Figure 5, left."""
    shortcut = project(x, channels, stride=stride, nn=nn, name=name)
    x = nn.conv_norm(x, channels, 3, stride=stride, activation="relu", name=f"{name}_first")
    x = nn.conv_norm(x, channels, 3, name=f"{name}_second")
    return join(shortcut, x, name=name)


def bottleneck(x, width, channels, *, stride, nn, bias=False, groups=1, strided="filter", name):
    """Figure 5, right: 1x1 to `width`, 3x3 in `groups`, 1x1 to `channels`."""
    shortcut = project(x, channels, stride=stride, nn=nn, bias=bias, name=name)
    widths = (width, width, channels)
    options = {"bias": bias, "groups": groups, "strided": strided}
    return join(shortcut, bottleneck_path(x, widths, stride=stride, nn=nn, name=name, **options), name=name)


def bottleneck_path(x, widths, *, stride, nn, bias=False, groups=1, strided="filter", name):
    """The convolutions of a bottleneck: 1x1, 3x3 in `groups`, linear 1x1, to the three `widths`."""
    reduce_stride, filter_stride = (stride, 1) if strided == "reduce" else (1, stride)
    reduce, filter, expand = widths
    act = {"bias": bias, "activation": "relu"}
    x = nn.conv_norm(x, reduce, stride=reduce_stride, name=f"{name}_reduce", **act)
    x = nn.conv_norm(x, filter, 3, stride=filter_stride, groups=groups, name=f"{name}_filter", **act)
    return nn.conv_norm(x, expand, bias=bias, name=f"{name}_expand")


def project(x, channels, *, stride, nn, bias=False, name):
    """The shortcut: x itself, or a 1x1 convolution of it where the shape changes (option B)."""
    if stride == 1 and x.shape[-1] == channels:
        return x
    return nn.conv_norm(x, channels, stride=stride, bias=bias, name=f"{name}_shortcut")


def join(shortcut, x, *, name):
    x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return activate(x, "relu", name=name)
