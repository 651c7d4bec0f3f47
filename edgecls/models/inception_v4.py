"""Inception v4: one design for all modules, without shortcuts (Szegedy et al. 2016)."""

from __future__ import annotations

import dataclasses
from functools import partial

from edgecls.models._blocks import TF, average_pool, classify, max_pool
from edgecls.models._inception import Parts, torch_branches
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="inception_v4",
    title="Inception v4",
    year=2016,
    paper="Szegedy et al., Inception-v4, Inception-ResNet and the Impact of Residual Connections on "
    "Learning, arXiv:1602.07261",
    tier=Tier.HEAVY,
    idea="The modules of v3 made uniform, and many more of them: how far Inception goes without shortcuts.",
)

#: Figure 3 of the paper, before its first fork.
STEM = [(32, 3, 2, "valid"), (32, 3, 1, "valid"), (64, 3)]

#: Figures 4, 5 and 6.
MODULE_A = {
    "1x1": [(96, 1)],
    "3x3": [(64, 1), (96, 3)],
    "double": [(64, 1), (96, 3), (96, 3)],
    "pool": ["mean", (96, 1)],
}
MODULE_B = {
    "1x1": [(384, 1)],
    "7x7": [(192, 1), (224, (1, 7)), (256, (7, 1))],
    "double": [(192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))],
    "pool": ["mean", (128, 1)],
}
MODULE_C = {
    "1x1": [(256, 1)],
    "3x3": [(384, 1), [(256, (1, 3)), (256, (3, 1))]],
    "double": [(384, 1), (448, (3, 1)), (512, (1, 3)), [(256, (1, 3)), (256, (3, 1))]],
    "pool": ["mean", (256, 1)],
}

#: Figure 9: the forks of figure 3, then 4 A, 7 B and 3 C with the reductions of figures 7 and 8 between.
MODULES = {
    "mixed3a": {"pool": ["max"], "3x3": [(96, 3, 2, "valid")]},
    "mixed4a": {
        "3x3": [(64, 1), (96, 3, 1, "valid")],
        "7x7": [(64, 1), (64, (1, 7)), (64, (7, 1)), (96, 3, 1, "valid")],
    },
    "mixed5a": {"3x3": [(192, 3, 2, "valid")], "pool": ["max"]},
    **{f"mixed5{letter}": MODULE_A for letter in "bcde"},
    "mixed6a": {
        "3x3": [(384, 3, 2, "valid")],
        "double": [(192, 1), (224, 3), (256, 3, 2, "valid")],
        "pool": ["max"],
    },
    **{f"mixed6{letter}": MODULE_B for letter in "bcdefgh"},
    "mixed7a": {
        "3x3": [(192, 1), (192, 3, 2, "valid")],
        "7x7": [(256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2, "valid")],
        "pool": ["max"],
    },
    **{f"mixed7{letter}": MODULE_C for letter in "bcd"},
}


def timm_names():
    """timm numbers the three convolutions of the stem and then the modules."""
    place = {name: f"features.{number}" for number, name in enumerate(MODULES, start=len(STEM))}

    def forked(m):
        branch = {"3x3": 1, "double": 2}[m[2]]
        return f"{place[m[1]]}.branch{branch}_{int(m[3]) - 1}{m[4]}.{m[5]}"

    rules = {
        r"stem_(\d)_(conv|bn)": lambda m: f"features.{int(m[1]) - 1}.{m[2]}",
        r"(mixed3a|mixed5a)_3x3_1_(conv|bn)": lambda m: f"{place[m[1]]}.conv.{m[2]}",
        r"(mixed7[bcd])_(3x3|double)_(\d)([ab]?)_(conv|bn)": forked,
        r"classifier": "last_linear",
    }
    for name, branches in MODULES.items():
        rules |= torch_branches(branches, name, place[name])
    return renamed(rules)


@variant(
    "inception_v4",
    source="timm",
    reference="timm.models.inception_v4",
    family=FAMILY,
    source_name=timm_names(),
    params=42_679_816,
    macs=12_253_974_624,
    preprocess=dataclasses.replace(PREPROCESS["tf"], resize=341, crop=299, interpolation="bicubic"),
    min_input_size=75,
)
def inception_v4(image, *, classes):
    """Figure 9."""

    def conv(x, filters, kernel, stride=1, padding="same", *, name):
        return TF.conv_norm(x, filters, kernel, stride=stride, padding=padding, activation="relu", name=name)

    parts = Parts(
        conv=conv,
        pools={
            "max": partial(max_pool, kernel=3, stride=2),
            "mean": partial(average_pool, kernel=3, padding="same"),
        },
    )
    x = parts.chain(image, STEM, name="stem")
    for name, branches in MODULES.items():
        x = parts.module(x, branches, name=name)
    return classify(x, classes)
