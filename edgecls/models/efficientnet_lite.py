"""EfficientNet-Lite: EfficientNet without what phones' integer units do slowly (Liu 2020)."""

from __future__ import annotations

import math
from functools import partial

from edgecls.models._blocks import TF, TORCH, classify, make_divisible
from edgecls.models._mbconv import stages
from edgecls.models.efficientnet import SCALES, STAGES, TIMM_NAMES, bicubic
from edgecls.registry import variant
from edgecls.spec import Family, Tier

FAMILY = Family(
    name="efficientnet_lite",
    title="EfficientNet-Lite",
    year=2020,
    paper="Liu, Higher accuracy on vision models with EfficientNet-Lite, TensorFlow blog, 2020",
    tier=Tier.LIGHT,
    idea="EfficientNet with ReLU6 for swish and no squeeze and excitation, so that int8 keeps its accuracy.",
)

row = partial(variant, family=FAMILY, source_name=TIMM_NAMES, min_input_size=32)
timm_row = partial(row, source="timm")


@timm_row(
    "efficientnet_lite0",
    reference="timm.models.tf_efficientnet_lite0",
    params=4_652_008,
    macs=385_187_552,
    preprocess=bicubic(224, values="tf"),
    options={"scale": "b0"},
)
@row(
    "efficientnet_lite0",
    source="timm_torch",
    reference="timm.models.efficientnet_lite0",
    params=4_652_008,
    macs=385_187_552,
    preprocess=bicubic(224),
    options={"scale": "b0", "nn": TORCH},
)
@timm_row(
    "efficientnet_lite1",
    reference="timm.models.tf_efficientnet_lite1",
    params=5_416_680,
    macs=600_185_232,
    preprocess=bicubic(240, values="tf"),
    options={"scale": "b1"},
)
@timm_row(
    "efficientnet_lite2",
    reference="timm.models.tf_efficientnet_lite2",
    params=6_092_072,
    macs=859_736_272,
    preprocess=bicubic(260, values="tf"),
    options={"scale": "b2"},
)
@timm_row(
    "efficientnet_lite3",
    reference="timm.models.tf_efficientnet_lite3",
    params=8_197_096,
    macs=1_383_321_872,
    preprocess=bicubic(280, values="tf"),
    options={"scale": "b3"},
)
@timm_row(
    "efficientnet_lite4",
    reference="timm.models.tf_efficientnet_lite4",
    params=13_006_568,
    macs=2_553_034_336,
    preprocess=bicubic(300, values="tf"),
    options={"scale": "b4"},
)
def efficientnet_lite(image, *, classes, scale, nn=TF):
    """EfficientNet's stages at the width and depth of `scale`, where the first convolution, the last,
    and the depth of the first and the last stage stay as they are."""
    width, depth = SCALES[scale]
    ends = (0, len(STAGES) - 1)
    table = [
        (
            expansion,
            kernel,
            make_divisible(channels * width),
            layers if stage in ends else math.ceil(layers * depth),
            stride,
        )
        for stage, (expansion, kernel, channels, layers, stride) in enumerate(STAGES)
    ]
    x = nn.conv_norm(image, 32, 3, stride=2, activation="relu6", name="stem")
    x = stages(x, table, activation="relu6", nn=nn)
    x = nn.conv_norm(x, 1280, activation="relu6", name="head")
    return classify(x, classes)
