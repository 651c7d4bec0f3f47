"""SENet: residual networks whose blocks weigh their channels (Hu et al. 2017)."""

from __future__ import annotations

import dataclasses
from functools import partial

from edgecls.models import resnet
from edgecls.models._blocks import TORCH, classify, max_pool, squeeze_excite
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="senet",
    title="SENet",
    year=2017,
    paper="Hu et al., Squeeze-and-Excitation Networks, arXiv:1709.01507",
    tier=Tier.HEAVY,
    idea="Squeeze each channel to its mean, and let the means decide how much each channel counts.",
)

#: The authors' Caffe nets, as timm keeps them in its `legacy_` models.
LEGACY_NAMES = renamed(
    resnet.TORCH_NAMES
    | {
        r"stem_conv": "layer0.conv1",
        r"stem_bn": "layer0.bn1",
        r"stem(\d)_(conv|bn)": r"layer0.\2\1",
        r"stage(\d)_block(\d+)_se_reduce_conv": resnet.torch_block("se_module.fc1"),
        r"stage(\d)_block(\d+)_se_expand_conv": resnet.torch_block("se_module.fc2"),
        r"classifier": "last_linear",
    }
)

#: timm's ResNet with the same gates.
TIMM_NAMES = renamed(
    resnet.TORCH_NAMES
    | {
        r"stage(\d)_block(\d+)_se_reduce_conv": resnet.torch_block("se.fc1"),
        r"stage(\d)_block(\d+)_se_expand_conv": resnet.torch_block("se.fc2"),
    }
)

row = partial(variant, family=FAMILY, min_input_size=32)
legacy_row = partial(row, source="timm", source_name=LEGACY_NAMES, preprocess=PREPROCESS["torch"])


@legacy_row(
    "se_resnet18",
    reference="timm.models.legacy_seresnet18",
    params=11_778_592,
    macs=1_814_160_384,
    preprocess=dataclasses.replace(PREPROCESS["torch"], interpolation="bicubic"),
    options={"depth": 18},
)
@legacy_row(
    "se_resnet34",
    reference="timm.models.legacy_seresnet34",
    params=21_958_868,
    macs=3_663_918_592,
    options={"depth": 34},
)
def plain_se_resnet(image, *, classes, depth):
    """ResNet-18 and -34 with gates; timm rectifies a block's end before the gate, too."""
    x = stem(image)
    for width, stride, name in resnet.blocks(depth):
        shortcut = resnet.project(x, width, stride=stride, nn=TORCH, name=name)
        x = TORCH.conv_norm(x, width, 3, stride=stride, activation="relu", name=f"{name}_first")
        x = TORCH.conv_norm(x, width, 3, activation="relu", name=f"{name}_second")
        x = gate_and_join(shortcut, x, name=name)
    return classify(x, classes)


@legacy_row(
    "se_resnet50",
    reference="timm.models.legacy_seresnet50",
    params=28_088_024,
    macs=3_860_488_192,
    options={"depth": 50, "strided": "reduce"},
)
@row(
    "se_resnet50",
    source="timm_resnet",
    reference="timm.models.seresnet50",
    source_name=TIMM_NAMES,
    params=28_088_024,
    macs=4_091_699_200,
    preprocess=dataclasses.replace(PREPROCESS["torch"], resize=235, interpolation="bicubic"),
    options={"depth": 50, "strided": "filter", "pool_padding": "symmetric"},
)
@legacy_row(
    "se_resnet101",
    reference="timm.models.legacy_seresnet101",
    params=49_326_872,
    macs=7_574_937_600,
    options={"depth": 101, "strided": "reduce"},
)
@legacy_row(
    "se_resnet152",
    reference="timm.models.legacy_seresnet152",
    params=66_821_848,
    macs=11_288_993_792,
    options={"depth": 152, "strided": "reduce"},
)
def se_resnet(image, *, classes, depth, strided, pool_padding="ceil"):
    """ResNet-50 and deeper with gates. strided: see `resnet.resnet`; pool_padding: of the stem's pool."""
    x = stem(image, pool_padding)
    for width, stride, name in resnet.blocks(depth):
        shortcut = resnet.project(x, 4 * width, stride=stride, nn=TORCH, name=name)
        widths = (width, width, 4 * width)
        x = resnet.bottleneck_path(x, widths, stride=stride, strided=strided, nn=TORCH, name=name)
        x = gate_and_join(shortcut, x, name=name)
    return classify(x, classes)


@legacy_row(
    "se_resnext50_32x4d",
    reference="timm.models.legacy_seresnext50_32x4d",
    params=27_559_896,
    macs=4_232_994_816,
    options={"depth": 50},
)
@legacy_row(
    "se_resnext101_32x4d",
    reference="timm.models.legacy_seresnext101_32x4d",
    params=48_955_416,
    macs=7_974_739_968,
    options={"depth": 101},
)
def se_resnext(image, *, classes, depth):
    """ResNeXt with gates, in 32 groups of 4 channels in the first stage."""
    x = stem(image)
    for width, stride, name in resnet.blocks(depth):
        shortcut = resnet.project(x, 4 * width, stride=stride, nn=TORCH, name=name)
        widths = (2 * width, 2 * width, 4 * width)
        x = resnet.bottleneck_path(x, widths, stride=stride, groups=32, nn=TORCH, name=name)
        x = gate_and_join(shortcut, x, name=name)
    return classify(x, classes)


@legacy_row(
    "senet154",
    reference="timm.models.legacy_senet154",
    params=115_088_984,
    macs=20_688_363_520,
)
def senet154(image, *, classes):
    """Appendix: a stem of three 3x3, 64 groups, half the usual 1x1 before them, shortcuts of 3x3."""
    x = TORCH.conv_norm(image, 64, 3, stride=2, activation="relu", name="stem1")
    x = TORCH.conv_norm(x, 64, 3, activation="relu", name="stem2")
    x = TORCH.conv_norm(x, 128, 3, activation="relu", name="stem3")
    x = max_pool(x, 3, stride=2, padding="ceil", name="stem_pool")
    for width, stride, name in resnet.blocks(152):
        shortcut = x
        if x.shape[-1] != 4 * width:
            kernel = 3 if stride > 1 else 1
            shortcut = TORCH.conv_norm(x, 4 * width, kernel, stride=stride, name=f"{name}_shortcut")
        widths = (2 * width, 4 * width, 4 * width)
        x = resnet.bottleneck_path(x, widths, stride=stride, groups=64, nn=TORCH, name=name)
        x = gate_and_join(shortcut, x, name=name)
    return classify(x, classes)


def stem(image, pool_padding="ceil"):
    x = TORCH.conv_norm(image, 64, 7, stride=2, activation="relu", name="stem")
    return max_pool(x, 3, stride=2, padding=pool_padding, name="stem_pool")


def gate_and_join(shortcut, x, *, name):
    """Figure 3: the gate, squeezed to a sixteenth, stands before the sum."""
    x = squeeze_excite(x, x.shape[-1] // 16, name=f"{name}_se")
    return resnet.join(shortcut, x, name=name)
