"""EfficientNet: one searched net, its width, depth and picture scaled together (Tan, Le 2019)."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from edgecls.models._blocks import TF, TORCH, classify, make_divisible, squeeze_excite
from edgecls.models._mbconv import (
    TIMM_ENDS,
    TIMM_INVERTED,
    TIMM_SEPARABLE,
    stages,
    timm_block,
    torchvision_part,
)
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="efficientnet",
    title="EfficientNet",
    year=2019,
    paper="Tan, Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, "
    "arXiv:1905.11946",
    tier=Tier.LIGHT,
    idea="Gated inverted residuals; one factor scales depth, width and resolution in fixed proportion.",
)

#: Table 1 of the paper, stages 2 to 8: expansion, kernel, channels, layers, stride of the first.
STAGES = [
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
]

#: The authors' code: width, depth of each size.
SCALES = {
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "b4": (1.4, 1.8),
    "b5": (1.6, 2.2),
    "b6": (1.8, 2.6),
    "b7": (2.0, 3.1),
}

KERAS_PARTS = {
    "expand_conv": "expand_conv",
    "expand_bn": "expand_bn",
    "depthwise_conv": "dwconv",
    "depthwise_bn": "bn",
    "se_reduce_conv": "se_reduce",
    "se_expand_conv": "se_expand",
    "project_conv": "project_conv",
    "project_bn": "project_bn",
}


def keras_block(parts):
    """A rule for `renamed`: (stage, block, part) to Keras's name, by its names of the parts."""
    return lambda m: f"block{m[1]}{chr(ord('a') + int(m[2]) - 1)}_{parts[m[3]]}"


KERAS_NAMES = renamed({
    r"stem_(conv|bn)": r"stem_\1",
    r"stage(\d)_block(\d+)_(\w+)": keras_block(KERAS_PARTS),
    r"head_(conv|bn)": r"top_\1",
    r"classifier": "predictions",
})

TIMM_NAMES = renamed(TIMM_ENDS | {
    r"stage(1)_block(\d+)_(\w+)": timm_block(TIMM_SEPARABLE),
    r"stage(\d)_block(\d+)_(\w+)": timm_block(TIMM_INVERTED),
})


def torchvision_block(m):
    modules = (["expand"] if m[1] != "1" else []) + ["depthwise", "se", "project"]
    return f"features.{m[1]}.{int(m[2]) - 1}.{torchvision_part(m[3], modules)}"


TORCHVISION_NAMES = renamed({
    r"stem_conv": "features.0.0",
    r"stem_bn": "features.0.1",
    r"stage(\d)_block(\d+)_(\w+)": torchvision_block,
    r"head_conv": "features.8.0",
    r"head_bn": "features.8.1",
    r"classifier": "classifier.1",
})

#: torchvision's largest three took the batch norms' epsilon from TensorFlow.
TORCH_TF_EPSILON = replace(TORCH, epsilon=TF.epsilon)


def bicubic(crop, *, resize=None, values="torch"):
    """The authors' crop leaves 32 pixels of the resized picture; torchvision's differs by size."""
    return replace(PREPROCESS[values], resize=resize or crop + 32, crop=crop, interpolation="bicubic")


row = partial(variant, family=FAMILY, min_input_size=32)
keras_row = partial(
    row,
    source="keras",
    source_name=KERAS_NAMES,
    unused_tensors=(r"normalization(_\d+)?/(mean|variance|count)",),
)
timm_row = partial(row, source="timm", source_name=TIMM_NAMES)
torchvision_row = partial(row, source="torchvision", source_name=TORCHVISION_NAMES)


@keras_row(
    "efficientnet_b0",
    reference="keras.applications.EfficientNetB0",
    params=5_288_548,
    macs=385_814_752,
    preprocess=bicubic(224),
    options={"size": "b0"},
)
@torchvision_row(
    "efficientnet_b0",
    reference="torchvision.models.efficientnet_b0",
    params=5_288_548,
    macs=385_814_752,
    preprocess=bicubic(224),
    options={"size": "b0", "nn": TORCH},
)
@timm_row(
    "efficientnet_b0",
    reference="timm.models.tf_efficientnet_b0",
    params=5_288_548,
    macs=385_814_752,
    preprocess=bicubic(224),
    options={"size": "b0"},
)
@keras_row(
    "efficientnet_b1",
    reference="keras.applications.EfficientNetB1",
    params=7_794_184,
    macs=686_802_832,
    preprocess=bicubic(240),
    options={"size": "b1"},
)
@torchvision_row(
    "efficientnet_b1",
    reference="torchvision.models.efficientnet_b1",
    params=7_794_184,
    macs=686_802_832,
    preprocess=bicubic(240, resize=256),
    options={"size": "b1", "nn": TORCH},
)
@keras_row(
    "efficientnet_b2",
    reference="keras.applications.EfficientNetB2",
    params=9_109_994,
    macs=993_561_872,
    preprocess=bicubic(260),
    options={"size": "b2"},
)
@torchvision_row(
    "efficientnet_b2",
    reference="torchvision.models.efficientnet_b2",
    params=9_109_994,
    macs=993_561_872,
    preprocess=bicubic(260, resize=260),  # the paper's size; torchvision's weights were chosen at 288
    options={"size": "b2", "nn": TORCH},
)
@keras_row(
    "efficientnet_b3",
    reference="keras.applications.EfficientNetB3",
    params=12_233_232,
    macs=1_827_141_392,
    preprocess=bicubic(300),
    options={"size": "b3"},
)
@torchvision_row(
    "efficientnet_b3",
    reference="torchvision.models.efficientnet_b3",
    params=12_233_232,
    macs=1_827_141_392,
    preprocess=bicubic(300, resize=320),
    options={"size": "b3", "nn": TORCH},
)
@keras_row(
    "efficientnet_b4",
    reference="keras.applications.EfficientNetB4",
    params=19_341_616,
    macs=4_393_771_024,
    preprocess=bicubic(380),
    options={"size": "b4"},
)
@torchvision_row(
    "efficientnet_b4",
    reference="torchvision.models.efficientnet_b4",
    params=19_341_616,
    macs=4_393_771_024,
    preprocess=bicubic(380, resize=384),
    options={"size": "b4", "nn": TORCH},
)
@keras_row(
    "efficientnet_b5",
    reference="keras.applications.EfficientNetB5",
    params=30_389_784,
    macs=10_266_384_752,
    preprocess=bicubic(456),
    options={"size": "b5"},
)
@torchvision_row(
    "efficientnet_b5",
    reference="torchvision.models.efficientnet_b5",
    params=30_389_784,
    macs=10_266_384_752,
    preprocess=bicubic(456, resize=456),
    options={"size": "b5", "nn": TORCH_TF_EPSILON},
)
@keras_row(
    "efficientnet_b6",
    reference="keras.applications.EfficientNetB6",
    params=43_040_704,
    macs=19_067_593_536,
    preprocess=bicubic(528),
    options={"size": "b6"},
)
@torchvision_row(
    "efficientnet_b6",
    reference="torchvision.models.efficientnet_b6",
    params=43_040_704,
    macs=19_067_593_536,
    preprocess=bicubic(528, resize=528),
    options={"size": "b6", "nn": TORCH_TF_EPSILON},
)
@keras_row(
    "efficientnet_b7",
    reference="keras.applications.EfficientNetB7",
    params=66_347_960,
    macs=37_745_884_192,
    preprocess=bicubic(600),
    options={"size": "b7"},
)
@torchvision_row(
    "efficientnet_b7",
    reference="torchvision.models.efficientnet_b7",
    params=66_347_960,
    macs=37_745_884_192,
    preprocess=bicubic(600, resize=600),
    options={"size": "b7", "nn": TORCH_TF_EPSILON},
)
def efficientnet(image, *, classes, size, nn=TF):
    """Table 1, scaled by `SCALES[size]`; channels are rounded to 8, layers up."""
    width, depth = SCALES[size]
    table = [
        (expansion, kernel, make_divisible(channels * width), math.ceil(layers * depth), stride)
        for expansion, kernel, channels, layers, stride in STAGES
    ]
    x = nn.conv_norm(image, make_divisible(32 * width), 3, stride=2, activation="swish", name="stem")
    x = stages(x, table, activation="swish", squeeze=squeeze_to_quarter, nn=nn)
    x = nn.conv_norm(x, make_divisible(1280 * width), activation="swish", name="head")
    return classify(x, classes)


def squeeze_to_quarter(channels):
    """Squeeze and excitation through a quarter of a block's `channels`, counted before it widens."""
    return partial(squeeze_excite, channels=channels // 4, activation="swish")
