"""VGG: nothing but 3x3 convolutions, stacked deep (Simonyan and Zisserman 2014)."""

from __future__ import annotations

from functools import partial

from edgecls.models._blocks import TORCH, activate, adaptive_mean, classify_flat, max_pool
from edgecls.models._naming import own_names, renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="vgg",
    title="VGG",
    year=2014,
    paper="Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, "
    "arXiv:1409.1556",
    tier=Tier.HEAVY,
    idea="Replace each large window by a stack of 3x3 ones: the same field of view, more nonlinearities.",
)

#: Table 1 of the paper: width of each of the five blocks, and the kernels in it by configuration.
WIDTHS = (64, 128, 256, 512, 512)
KERNELS = {
    "A": [(3,), (3,), (3, 3), (3, 3), (3, 3)],
    "B": [(3, 3), (3, 3), (3, 3), (3, 3), (3, 3)],
    "C": [(3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)],
    "D": [(3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)],
    "E": [(3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)],
}

KERAS_NAMES = renamed({
    r"block(\d)_(\d)_conv": r"block\1_conv\2",
    r"(fc\d)": r"\1",
    r"classifier": "predictions",
})


def torch_names(configuration, batch_norm):
    """Torch numbers every module: convolution, norm, activation, pool."""
    names = {r"fc1": "classifier.0", r"fc2": "classifier.3", r"classifier": "classifier.6"}
    index = 0
    for block, kernels in enumerate(KERNELS[configuration], start=1):
        for position in range(1, len(kernels) + 1):
            names[f"block{block}_{position}_conv"] = f"features.{index}"
            names[f"block{block}_{position}_bn"] = f"features.{index + 1}"
            index += 3 if batch_norm else 2
        index += 1
    return renamed(names)


def torch_row(name, configuration, *, batch_norm=False, params, macs):
    return row(
        name,
        source="torchvision",
        reference=f"torchvision.models.{name}",
        source_name=torch_names(configuration, batch_norm),
        params=params,
        macs=macs,
        preprocess=PREPROCESS["torch"],
        options={"configuration": configuration, "batch_norm": batch_norm, "pooled": 7},
    )


row = partial(variant, family=FAMILY, min_input_size=32)
keras_row = partial(row, source="keras", source_name=KERAS_NAMES, preprocess=PREPROCESS["caffe"])


@torch_row("vgg11", "A", params=132_863_336, macs=7_609_090_048)
@torch_row("vgg11_bn", "A", batch_norm=True, params=132_868_840, macs=7_609_090_048)
@torch_row("vgg13", "B", params=133_047_848, macs=11_308_466_176)
@torch_row("vgg13_bn", "B", batch_norm=True, params=133_053_736, macs=11_308_466_176)
@torch_row("vgg16", "D", params=138_357_544, macs=15_470_264_320)
@keras_row(
    "vgg16",
    reference="keras.applications.VGG16",
    params=138_357_544,
    macs=15_470_264_320,
    options={"configuration": "D"},
)
@torch_row("vgg16_bn", "D", batch_norm=True, params=138_365_992, macs=15_470_264_320)
@row(
    "vgg16_c",
    source="paper",
    reference="table 1, configuration C",
    source_name=own_names,
    params=133_638_952,
    macs=11_770_888_192,
    preprocess=PREPROCESS["caffe"],
    options={"configuration": "C"},
)
@torch_row("vgg19", "E", params=143_667_240, macs=19_632_062_464)
@keras_row(
    "vgg19",
    reference="keras.applications.VGG19",
    params=143_667_240,
    macs=19_632_062_464,
    options={"configuration": "E"},
)
@torch_row("vgg19_bn", "E", batch_norm=True, params=143_678_248, macs=19_632_062_464)
def vgg(image, *, classes, configuration, batch_norm=False, pooled=None):
    """Table 1.

    pooled: side of the last picture, averaged to it where the input is not 224; None flattens
        the last picture as it is, so that the first dense layer grows with the input.
    """
    x = image
    for block, (width, kernels) in enumerate(zip(WIDTHS, KERNELS[configuration], strict=True), start=1):
        for position, kernel in enumerate(kernels, start=1):
            name = f"block{block}_{position}"
            x = TORCH.conv(x, width, kernel, bias=True, name=name)
            if batch_norm:
                x = TORCH.norm(x, name=name)
            x = activate(x, "relu", name=name)
        x = max_pool(x, 2, stride=2, name=f"block{block}_pool")
    if pooled is not None:
        x = adaptive_mean(x, pooled)
    return classify_flat(x, classes)
