"""GhostNet: half of every layer's channels made from the other half (Han et al. 2020)."""

from __future__ import annotations

from dataclasses import replace

from edgecls.models._blocks import TORCH as nn
from edgecls.models._blocks import activate, keras, make_divisible, squeeze_excite
from edgecls.models._mbconv import TIMM_ENDS, timm_block
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="ghostnet",
    title="GhostNet",
    year=2020,
    paper="Han et al., GhostNet: More Features from Cheap Operations, arXiv:1911.11907",
    tier=Tier.LIGHT,
    idea="Compute half of the features with a 1x1 convolution, the other half from those, depthwise.",
)

#: Table 1 of the paper: kernel, expanded channels, output channels, squeeze and excitation, stride. A
#: block of stride 2 is a stage of its own, as in the authors' code.
STAGES = [
    [(3, 16, 16, False, 1)],
    [(3, 48, 24, False, 2)],
    [(3, 72, 24, False, 1)],
    [(5, 72, 40, True, 2)],
    [(5, 120, 40, True, 1)],
    [(3, 240, 80, False, 2)],
    [
        (3, 200, 80, False, 1),
        (3, 184, 80, False, 1),
        (3, 184, 80, False, 1),
        (3, 480, 112, True, 1),
        (3, 672, 112, True, 1),
    ],
    [(5, 672, 160, True, 2)],
    [(5, 960, 160, False, 1), (5, 960, 160, True, 1), (5, 960, 160, False, 1), (5, 960, 160, True, 1)],
]

TIMM_PARTS = {
    "ghost1_primary_conv": "ghost1.primary_conv.0",
    "ghost1_primary_bn": "ghost1.primary_conv.1",
    "ghost1_cheap_conv": "ghost1.cheap_operation.0",
    "ghost1_cheap_bn": "ghost1.cheap_operation.1",
    "depthwise_conv": "conv_dw",
    "depthwise_bn": "bn_dw",
    "se_reduce_conv": "se.conv_reduce",
    "se_expand_conv": "se.conv_expand",
    "ghost2_primary_conv": "ghost2.primary_conv.0",
    "ghost2_primary_bn": "ghost2.primary_conv.1",
    "ghost2_cheap_conv": "ghost2.cheap_operation.0",
    "ghost2_cheap_bn": "ghost2.cheap_operation.1",
    "shortcut_depthwise_conv": "shortcut.0",
    "shortcut_depthwise_bn": "shortcut.1",
    "shortcut_project_conv": "shortcut.2",
    "shortcut_project_bn": "shortcut.3",
}

TIMM_NAMES = renamed(TIMM_ENDS | {
    r"stage(\d)_block(\d)_(\w+)": timm_block(TIMM_PARTS),
    r"head_conv": "blocks.9.0.conv",
    r"head_bn": "blocks.9.0.bn1",
    r"hidden": "conv_head",
})


@variant(
    "ghostnet",
    source="timm",
    reference="timm.models.ghostnet_100",
    family=FAMILY,
    source_name=TIMM_NAMES,
    params=5_182_508,
    macs=141_150_512,
    preprocess=replace(PREPROCESS["torch"], interpolation="bicubic"),
    min_input_size=32,
)
def ghostnet(image, *, classes):
    """Table 1."""
    x = nn.conv_norm(image, 16, 3, stride=2, activation="relu", name="stem")
    for stage, blocks in enumerate(STAGES, start=1):
        for block, row in enumerate(blocks, start=1):
            x = ghost_bottleneck(x, *row, name=f"stage{stage}_block{block}")
    x = nn.conv_norm(x, 960, activation="relu", name="head")
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    x = keras.layers.Dense(1280, name="hidden")(x)
    x = activate(x, "relu", name="hidden")
    return keras.layers.Dense(classes, name="classifier")(x)


def ghost_bottleneck(x, kernel, expanded, channels, gated, stride, *, name):
    """Figure 3: two ghost modules, the second linear, with a depthwise convolution between them only
    where there is a stride to take; a shortcut always, separable where shapes differ."""
    shortcut = x
    x = ghost_module(x, expanded, activation="relu", name=f"{name}_ghost1")
    if stride > 1:
        x = nn.depthwise_norm(x, kernel, stride=stride, name=f"{name}_depthwise")
    if gated:
        x = squeeze_excite(x, make_divisible(expanded / 4, 4), gate="hard_sigmoid", name=f"{name}_se")
    x = ghost_module(x, channels, activation=None, name=f"{name}_ghost2")
    if shortcut.shape != x.shape:
        shortcut = nn.depthwise_norm(shortcut, kernel, stride=stride, name=f"{name}_shortcut_depthwise")
        shortcut = nn.conv_norm(shortcut, channels, name=f"{name}_shortcut_project")
    return keras.layers.Add(name=f"{name}_add")([shortcut, x])


def ghost_module(x, channels, *, activation, name):
    """Figure 1b: half of `channels` by a 1x1 convolution, the other half depthwise from those."""
    x = nn.conv_norm(x, channels // 2, activation=activation, name=f"{name}_primary")
    ghosts = nn.depthwise_norm(x, 3, activation=activation, name=f"{name}_cheap")
    return keras.layers.Concatenate(name=f"{name}_concat")([x, ghosts])
