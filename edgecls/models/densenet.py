"""DenseNet: every layer reads all layers before it (Huang et al. 2016)."""

from __future__ import annotations

from functools import partial

from edgecls.models import resnet
from edgecls.models._blocks import TORCH, activate, average_pool, classify, keras, max_pool
from edgecls.models._naming import renamed
from edgecls.models.resnet_cifar import CIFAR
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="densenet",
    title="DenseNet",
    year=2016,
    paper="Huang et al., Densely Connected Convolutional Networks, arXiv:1608.06993",
    tier=Tier.HEAVY,
    idea="Concatenate instead of adding: nothing is learned twice, so each layer can be very narrow.",
)

#: Table 1 of the paper: layers in each dense block, by depth.
LAYERS = {
    121: (6, 12, 24, 16),
    161: (6, 12, 36, 24),
    169: (6, 12, 32, 32),
    201: (6, 12, 48, 32),
}


#: Keras counts stages as ResNet does, from conv2.
KERAS_NAMES = renamed({
    r"stem_(conv|bn)": r"conv1_\1",
    r"stage(\d)_layer(\d+)_preact_bn": lambda m: f"conv{int(m[1]) + 1}_block{m[2]}_0_bn",
    r"stage(\d)_layer(\d+)_reduce_(conv|bn)": lambda m: f"conv{int(m[1]) + 1}_block{m[2]}_1_{m[3]}",
    r"stage(\d)_layer(\d+)_filter_conv": lambda m: f"conv{int(m[1]) + 1}_block{m[2]}_2_conv",
    r"transition(\d)_(conv|bn)": lambda m: f"pool{int(m[1]) + 1}_{m[2]}",
    r"head_bn": "bn",
    r"classifier": "predictions",
})

#: The norm after a layer's 1x1 convolution belongs, for torch, to the 3x3 that follows it.
TORCHVISION_NAMES = renamed({
    r"stem_conv": "features.conv0",
    r"stem_bn": "features.norm0",
    r"stage(\d)_layer(\d+)_preact_bn": r"features.denseblock\1.denselayer\2.norm1",
    r"stage(\d)_layer(\d+)_reduce_conv": r"features.denseblock\1.denselayer\2.conv1",
    r"stage(\d)_layer(\d+)_reduce_bn": r"features.denseblock\1.denselayer\2.norm2",
    r"stage(\d)_layer(\d+)_filter_conv": r"features.denseblock\1.denselayer\2.conv2",
    r"transition(\d)_conv": r"features.transition\1.conv",
    r"transition(\d)_bn": r"features.transition\1.norm",
    r"head_bn": "features.norm5",
    r"classifier": "classifier",
})

PYTORCHCV_NAMES = renamed({
    r"stem_conv": "features.init_block",
    r"stage(\d)_layer(\d+)_preact_bn": r"features.stage\1.unit\2.conv1.bn",
    r"stage(\d)_layer(\d+)_reduce_conv": r"features.stage\1.unit\2.conv1.conv",
    r"stage(\d)_layer(\d+)_reduce_bn": r"features.stage\1.unit\2.conv2.bn",
    r"stage(\d)_layer(\d+)_filter_conv": r"features.stage\1.unit\2.conv2.conv",
    r"transition(\d)_(conv|bn)": lambda m: "features.stage{0}.trans{0}.conv.{1}".format(int(m[1]) + 1, m[2]),
    r"head_bn": "features.post_activ.bn",
    r"classifier": "output",
})

#: torchvision's files are of the days when a layer's parts were called `norm.1`; it has `norm1` since.
TORCHVISION_OLDER_NAMES = {r"(denselayer\d+\.(?:norm|conv))\.([12])\.": r"\1\2."}

row = partial(variant, family=FAMILY, preprocess=PREPROCESS["torch"], min_input_size=32)
keras_row = partial(row, source="keras", source_name=KERAS_NAMES)
torchvision_row = partial(
    row, source="torchvision", source_name=TORCHVISION_NAMES, older_names=TORCHVISION_OLDER_NAMES
)


@keras_row(
    "densenet121",
    reference="keras.applications.DenseNet121",
    params=7_978_856,
    macs=2_834_161_664,
    options={"depth": 121, "nn": resnet.KERAS},
)
@torchvision_row(
    "densenet121",
    reference="torchvision.models.densenet121",
    params=7_978_856,
    macs=2_834_161_664,
    options={"depth": 121},
)
@torchvision_row(
    "densenet161",
    reference="torchvision.models.densenet161",
    params=28_681_000,
    macs=7_727_907_072,
    options={"depth": 161, "growth": 48},
)
@keras_row(
    "densenet169",
    reference="keras.applications.DenseNet169",
    params=14_149_480,
    macs=3_359_843_328,
    options={"depth": 169, "nn": resnet.KERAS},
)
@torchvision_row(
    "densenet169",
    reference="torchvision.models.densenet169",
    params=14_149_480,
    macs=3_359_843_328,
    options={"depth": 169},
)
@keras_row(
    "densenet201",
    reference="keras.applications.DenseNet201",
    params=20_013_928,
    macs=4_291_365_888,
    options={"depth": 201, "nn": resnet.KERAS},
)
@torchvision_row(
    "densenet201",
    reference="torchvision.models.densenet201",
    params=20_013_928,
    macs=4_291_365_888,
    options={"depth": 201},
)
def densenet(image, *, classes, depth, growth=32, nn=TORCH):
    """Table 1. growth: channels that each layer adds."""
    x = nn.conv_norm(image, 2 * growth, 7, stride=2, activation="relu", name="stem")
    x = max_pool(x, 3, stride=2, padding="symmetric", name="stem_pool")
    return dense_stages(x, LAYERS[depth], growth, classes, nn=nn)


@row(
    "densenet100_k12_bc_cifar",
    source="pytorchcv",
    reference="pytorchcv.models.densenet_cifar.densenet100_k12_bc_cifar10",
    source_name=PYTORCHCV_NAMES,
    params=769_162,
    macs=287_929_692,
    preprocess=CIFAR,
    min_input_size=8,
    classes=10,
)
def densenet100_k12_bc_cifar(image, *, classes):
    """Section 3, DenseNet-BC for 32x32 pictures: three blocks, growth 12."""
    x = TORCH.conv(image, 24, 3, name="stem")
    return dense_stages(x, (16, 16, 16), 12, classes, nn=TORCH)


def dense_stages(x, layers, growth, classes, *, nn):
    """The dense blocks with a transition between two of them, then the classifier."""
    for stage, repeats in enumerate(layers, start=1):
        if stage > 1:
            x = transition(x, nn=nn, name=f"transition{stage - 1}")
        for layer in range(1, repeats + 1):
            x = dense_layer(x, growth, nn=nn, name=f"stage{stage}_layer{layer}")
    x = activate(nn.norm(x, name="head"), "relu", name="head")
    return classify(x, classes)


def dense_layer(x, growth, *, nn, name):
    """Section 3, with bottleneck: norm, ReLU, 1x1, norm, ReLU, 3x3, beside what it has read."""
    y = activate(nn.norm(x, name=f"{name}_preact"), "relu", name=f"{name}_preact")
    y = nn.conv_norm(y, 4 * growth, activation="relu", name=f"{name}_reduce")
    y = nn.conv(y, growth, 3, name=f"{name}_filter")
    return keras.layers.Concatenate(name=f"{name}_concat")([x, y])


def transition(x, *, nn, name):
    """Half the channels, half the side."""
    x = activate(nn.norm(x, name=name), "relu", name=name)
    x = nn.conv(x, x.shape[-1] // 2, name=name)
    return average_pool(x, 2, stride=2, name=f"{name}_pool")
