"""MobileNet v2: inverted residuals with linear bottlenecks (Sandler et al. 2018)."""

from __future__ import annotations

from edgecls.models._blocks import TF, TORCH, classify, keras, make_divisible
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="mobilenet_v2",
    title="MobileNet v2",
    year=2018,
    paper="Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, arXiv:1801.04381",
    tier=Tier.LIGHT,
    idea="Widen, filter depthwise, narrow again without a nonlinearity; join the narrow ends.",
)

#: Table 2 of the paper: expansion t, output channels c, repeats n, stride s of the first.
STAGES = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]

KERAS_NAMES = renamed({
    r"stem_conv": "Conv1",
    r"stem_bn": "bn_Conv1",
    r"block1_(\w+)_conv": r"expanded_conv_\1",
    r"block1_(\w+)_bn": r"expanded_conv_\1_BN",
    r"block(\d+)_(\w+)_conv": lambda m: f"block_{int(m[1]) - 1}_{m[2]}",
    r"block(\d+)_(\w+)_bn": lambda m: f"block_{int(m[1]) - 1}_{m[2]}_BN",
    r"head_conv": "Conv_1",
    r"head_bn": "Conv_1_bn",
    r"classifier": "predictions",
})

TORCHVISION_NAMES = renamed({
    r"stem_conv": "features.0.0",
    r"stem_bn": "features.0.1",
    r"block1_depthwise_conv": "features.1.conv.0.0",
    r"block1_depthwise_bn": "features.1.conv.0.1",
    r"block1_project_conv": "features.1.conv.1",
    r"block1_project_bn": "features.1.conv.2",
    r"block(\d+)_expand_conv": r"features.\1.conv.0.0",
    r"block(\d+)_expand_bn": r"features.\1.conv.0.1",
    r"block(\d+)_depthwise_conv": r"features.\1.conv.1.0",
    r"block(\d+)_depthwise_bn": r"features.\1.conv.1.1",
    r"block(\d+)_project_conv": r"features.\1.conv.2",
    r"block(\d+)_project_bn": r"features.\1.conv.3",
    r"head_conv": "features.18.0",
    r"head_bn": "features.18.1",
    r"classifier": "classifier.1",
})


@variant(
    "mobilenet_v2",
    source="keras",
    reference="keras.applications.MobileNetV2(alpha=1.0)",
    family=FAMILY,
    source_name=KERAS_NAMES,
    params=3_504_872,
    macs=300_774_272,
    preprocess=PREPROCESS["tf"],
    min_input_size=32,
)
@variant(
    "mobilenet_v2",
    source="torchvision",
    reference="torchvision.models.mobilenet_v2",
    family=FAMILY,
    source_name=TORCHVISION_NAMES,
    params=3_504_872,
    macs=300_774_272,
    preprocess=PREPROCESS["torch"],
    min_input_size=32,
    options={"nn": TORCH},
)
def mobilenet_v2(image, *, classes, width=1.0, nn=TF):
    """Table 2. `width` scales every layer but the last 1x1 convolution, which it only ever widens."""
    x = nn.conv_norm(image, make_divisible(32 * width), 3, stride=2, activation="relu6", name="stem")
    block = 0
    for expansion, channels, repeats, stride in STAGES:
        for repeat in range(repeats):
            block += 1
            x = inverted_residual(
                x,
                expansion,
                make_divisible(int(channels * width)),
                stride=stride if repeat == 0 else 1,
                nn=nn,
                name=f"block{block}",
            )
    x = nn.conv_norm(x, make_divisible(1280 * max(width, 1.0)), activation="relu6", name="head")
    return classify(x, classes)


def inverted_residual(x, expansion, channels, *, stride, nn, name):
    """Figure 4d: 1x1 up by `expansion`, 3x3 depthwise, linear 1x1 down; shortcut where shapes agree."""
    shortcut = x
    if expansion > 1:
        x = nn.conv_norm(x, expansion * x.shape[-1], activation="relu6", name=f"{name}_expand")
    x = nn.depthwise_norm(x, 3, stride=stride, activation="relu6", name=f"{name}_depthwise")
    x = nn.conv_norm(x, channels, name=f"{name}_project")
    if stride == 1 and shortcut.shape[-1] == channels:
        x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return x
