"""ResNet for CIFAR: three stages of narrow blocks, as deep as a thousand layers (He et al.)."""

from __future__ import annotations

from functools import partial

from edgecls.models import resnet, resnet_v2
from edgecls.models._blocks import TORCH, classify
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import Family, Preprocess, Tier

FAMILY = Family(
    name="resnet_cifar",
    title="ResNet for CIFAR",
    year=2015,
    paper="He et al., Deep Residual Learning for Image Recognition, arXiv:1512.03385, section 4.2; Identity "
    "Mappings in Deep Residual Networks, arXiv:1603.05027, appendix",
    tier=Tier.HEAVY,
    idea="The same blocks on 32x32 pictures, where depth alone can be studied: 20 layers to 1001.",
)

#: Section 4.2 of the first paper: width of each stage; a stage but the first halves the picture.
WIDTHS = (16, 32, 64)

V1_NAMES = renamed({
    r"stem_(conv|bn)": r"features.init_block.\1",
    r"stage(\d)_block(\d+)_shortcut_(conv|bn)": r"features.stage\1.unit\2.identity_conv.\3",
    r"stage(\d)_block(\d+)_first_(conv|bn)": r"features.stage\1.unit\2.body.conv1.\3",
    r"stage(\d)_block(\d+)_second_(conv|bn)": r"features.stage\1.unit\2.body.conv2.\3",
    r"classifier": "output",
})

#: pytorchcv puts a norm beside the convolution that follows it; here it is called as the one before.
V2_NAMES = renamed({
    r"stem_conv": "features.init_block",
    r"stage(\d)_block(\d+)_preact_bn": r"features.stage\1.unit\2.body.conv1.bn",
    r"stage(\d)_block(\d+)_shortcut_conv": r"features.stage\1.unit\2.identity_conv",
    r"stage(\d)_block(\d+)_reduce_conv": r"features.stage\1.unit\2.body.conv1.conv",
    r"stage(\d)_block(\d+)_reduce_bn": r"features.stage\1.unit\2.body.conv2.bn",
    r"stage(\d)_block(\d+)_filter_conv": r"features.stage\1.unit\2.body.conv2.conv",
    r"stage(\d)_block(\d+)_filter_bn": r"features.stage\1.unit\2.body.conv3.bn",
    r"stage(\d)_block(\d+)_expand_conv": r"features.stage\1.unit\2.body.conv3.conv",
    r"head_bn": "features.post_activ.bn",
    r"classifier": "output",
})

#: CIFAR-10's own mean and deviation.
CIFAR = Preprocess(
    resize=32,
    crop=32,
    mean=tuple(255 * m for m in (0.4914, 0.4822, 0.4465)),
    std=tuple(255 * s for s in (0.2023, 0.1994, 0.2010)),
)

row = partial(
    variant, source="pytorchcv", family=FAMILY, preprocess=CIFAR, min_input_size=8, classes=10
)


@row(
    "resnet20_cifar",
    reference="pytorchcv.models.resnet_cifar.resnet20_cifar10",
    source_name=V1_NAMES,
    params=272_474,
    macs=40_813_184,
    options={"repeats": 3},
)
@row(
    "resnet56_cifar",
    reference="pytorchcv.models.resnet_cifar.resnet56_cifar10",
    source_name=V1_NAMES,
    params=855_770,
    macs=125_747_840,
    options={"repeats": 9},
)
@row(
    "resnet110_cifar",
    reference="pytorchcv.models.resnet_cifar.resnet110_cifar10",
    source_name=V1_NAMES,
    params=1_730_714,
    macs=253_149_824,
    options={"repeats": 18},
)
def resnet_cifar(image, *, classes, repeats):
    """Section 4.2 of the first paper: 6 * repeats + 2 layers."""
    x = TORCH.conv_norm(image, 16, 3, activation="relu", name="stem")
    for width, stride, name in blocks(repeats):
        x = resnet.basic(x, width, stride=stride, nn=TORCH, name=name)
    return classify(x, classes)


@row(
    "resnet164_v2_cifar",
    reference="pytorchcv.models.preresnet_cifar.preresnet164bn_cifar10",
    source_name=V2_NAMES,
    params=1_703_258,
    macs=247_646_720,
    options={"repeats": 18},
)
@row(
    "resnet1001_v2_cifar",
    reference="pytorchcv.models.preresnet_cifar.preresnet1001_cifar10",
    source_name=V2_NAMES,
    params=10_327_706,
    macs=1_490_995_712,
    options={"repeats": 111},
)
def resnet_v2_cifar(image, *, classes, repeats):
    """Appendix of the second paper: bottlenecks, 9 * repeats + 2 layers."""
    x = TORCH.conv(image, 16, 3, name="stem")
    for width, stride, name in blocks(repeats):
        project = name.endswith("_block1")
        x = resnet_v2.bottleneck(x, width, stride=stride, project=project, nn=TORCH, name=name)
    return resnet_v2.head(x, classes, nn=TORCH)


def blocks(repeats):
    """(width, stride, name) of each block."""
    for stage, width in enumerate(WIDTHS, start=1):
        for repeat in range(1, repeats + 1):
            yield width, 2 if stage > 1 and repeat == 1 else 1, f"stage{stage}_block{repeat}"
