"""The inverted residual of MobileNet v2, which its successors vary, and what sources call its parts.

Its layers are `<name>_expand`, `<name>_depthwise`, `<name>_se` and `<name>_project`; blocks are
called `stage<n>_block<n>`, counted from 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from edgecls.models._blocks import keras


def inverted_residual(x, channels, *, expanded, kernel, stride, activation, squeeze=None, nn, name):
    """1x1 up to `expanded` channels, depthwise, linear 1x1 down; a shortcut where shapes agree
    (Sandler et al., figure 4d). An input that is `expanded` channels wide already stays as it is.

    squeeze: what follows the depthwise convolution, `squeeze_excite` but for its input and name.
    """
    shortcut = x
    if x.shape[-1] != expanded:
        x = nn.conv_norm(x, expanded, activation=activation, name=f"{name}_expand")
    x = nn.depthwise_norm(x, kernel, stride=stride, activation=activation, name=f"{name}_depthwise")
    if squeeze:
        x = squeeze(x, name=f"{name}_se")
    x = nn.conv_norm(x, channels, name=f"{name}_project")
    if stride == 1 and shortcut.shape[-1] == channels:
        x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return x


def stages(x, table, *, activation, squeeze=None, nn):
    """Every block of a table of (expansion, kernel, channels, repeats, stride of the first).

    squeeze: from a block's input channels to its squeeze and excitation; see `inverted_residual`.
    """
    for stage, (expansion, kernel, channels, repeats, stride) in enumerate(table, start=1):
        for block in range(1, repeats + 1):
            x = inverted_residual(
                x,
                channels,
                expanded=expansion * x.shape[-1],
                kernel=kernel,
                stride=stride if block == 1 else 1,
                activation=activation,
                squeeze=squeeze and squeeze(x.shape[-1]),
                nn=nn,
                name=f"stage{stage}_block{block}",
            )
    return x


def block_number(match: re.Match, repeats: Sequence[int]) -> int:
    """The number, from 1, of block `match[2]` of stage `match[1]` when all blocks are counted on."""
    return sum(repeats[: int(match[1]) - 1]) + int(match[2])


#: timm's names around the blocks.
TIMM_ENDS = {
    r"stem_conv": "conv_stem",
    r"stem_bn": "bn1",
    r"head_conv": "conv_head",
    r"head_bn": "bn2",
    r"classifier": "classifier",
}

#: timm's names within an inverted residual.
TIMM_INVERTED = {
    "expand_conv": "conv_pw",
    "expand_bn": "bn1",
    "depthwise_conv": "conv_dw",
    "depthwise_bn": "bn2",
    "se_reduce_conv": "se.conv_reduce",
    "se_expand_conv": "se.conv_expand",
    "project_conv": "conv_pwl",
    "project_bn": "bn3",
}

#: timm's names within one that does not widen.
TIMM_SEPARABLE = {
    "depthwise_conv": "conv_dw",
    "depthwise_bn": "bn1",
    "se_reduce_conv": "se.conv_reduce",
    "se_expand_conv": "se.conv_expand",
    "project_conv": "conv_pw",
    "project_bn": "bn2",
}


def timm_block(parts: Mapping[str, str]) -> Callable[[re.Match], str]:
    """A rule for `renamed`: (stage, block, part) to timm's name, by its names of the parts."""
    return lambda m: f"blocks.{int(m[1]) - 1}.{int(m[2]) - 1}.{parts[m[3]]}"


def torchvision_part(part: str, modules: Sequence[str]) -> str:
    """torchvision's name within a block, which is a sequence of the given modules."""
    module, leaf = {
        "fused_conv": ("fused", "0"),
        "fused_bn": ("fused", "1"),
        "expand_conv": ("expand", "0"),
        "expand_bn": ("expand", "1"),
        "depthwise_conv": ("depthwise", "0"),
        "depthwise_bn": ("depthwise", "1"),
        "se_reduce_conv": ("se", "fc1"),
        "se_expand_conv": ("se", "fc2"),
        "project_conv": ("project", "0"),
        "project_bn": ("project", "1"),
    }[part]
    return f"block.{modules.index(module)}.{leaf}"
