"""Inception v3: large windows factored into small and one-sided ones (Szegedy et al. 2015)."""

from __future__ import annotations

from functools import partial

from edgecls.models._blocks import TF, average_pool, classify, max_pool
from edgecls.models._inception import Parts, conv_names, module_conv_names
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="inception_v3",
    title="Inception v3",
    year=2015,
    paper="Szegedy et al., Rethinking the Inception Architecture for Computer Vision, arXiv:1512.00567",
    tier=Tier.HEAVY,
    idea="Factor 5x5 windows into two 3x3, and 7x7 into 1x7 and 7x1; shrink with two paths at once.",
)

#: Table 1 of the paper, up to the first module.
STEM = [
    (32, 3, 2, "valid"),
    (32, 3, 1, "valid"),
    (64, 3),
    "max",
    (80, 1, 1, "valid"),
    (192, 3, 1, "valid"),
    "max",
]


def figure_5(pool):
    """35x35: 5x5 as it is (code never factored this one) and twice 3x3."""
    return {
        "1x1": [(64, 1)],
        "5x5": [(48, 1), (64, 5)],
        "3x3dbl": [(64, 1), (96, 3), (96, 3)],
        "pool": ["mean", (pool, 1)],
    }


def figure_6(width):
    """17x17: 7x7 as 1x7 and 7x1, once and twice."""
    return {
        "1x1": [(192, 1)],
        "7x7": [(width, 1), (width, (1, 7)), (192, (7, 1))],
        "7x7dbl": [(width, 1), (width, (7, 1)), (width, (1, 7)), (width, (7, 1)), (192, (1, 7))],
        "pool": ["mean", (192, 1)],
    }


#: 8x8: 3x3 as 1x3 beside 3x1.
FIGURE_7 = {
    "1x1": [(320, 1)],
    "3x3": [(384, 1), [(384, (1, 3)), (384, (3, 1))]],
    "3x3dbl": [(448, 1), (384, 3), [(384, (1, 3)), (384, (3, 1))]],
    "pool": ["mean", (192, 1)],
}

#: The modules of table 1; 6a and 7a halve the picture as in figure 10.
MODULES = {
    "mixed5b": figure_5(pool=32),
    "mixed5c": figure_5(pool=64),
    "mixed5d": figure_5(pool=64),
    "mixed6a": {
        "3x3": [(384, 3, 2, "valid")],
        "3x3dbl": [(64, 1), (96, 3), (96, 3, 2, "valid")],
        "pool": ["max"],
    },
    "mixed6b": figure_6(width=128),
    "mixed6c": figure_6(width=160),
    "mixed6d": figure_6(width=160),
    "mixed6e": figure_6(width=192),
    "mixed7a": {
        "3x3": [(192, 1), (320, 3, 2, "valid")],
        "7x7x3": [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2, "valid")],
        "pool": ["max"],
    },
    "mixed7b": FIGURE_7,
    "mixed7c": FIGURE_7,
}


def keras_names():
    """Keras has no names for these layers but their numbers in the order in which they are made."""
    convolutions = list(conv_names(STEM, "stem"))
    for name, branches in MODULES.items():
        convolutions += module_conv_names(branches, name)
    names = {"classifier": "predictions"}
    for number, convolution in enumerate(convolutions, start=1):
        names[f"{convolution}_conv"] = f"conv2d_{number}"
        names[f"{convolution}_bn"] = f"batch_normalization_{number}"
    return renamed(names)


TORCHVISION_NAMES = renamed({
    r"stem_1_(conv|bn)": r"Conv2d_1a_3x3.\1",
    r"stem_2_(conv|bn)": r"Conv2d_2a_3x3.\1",
    r"stem_3_(conv|bn)": r"Conv2d_2b_3x3.\1",
    r"stem_4_(conv|bn)": r"Conv2d_3b_1x1.\1",
    r"stem_5_(conv|bn)": r"Conv2d_4a_3x3.\1",
    r"mixed6a_3x3_1_(conv|bn)": r"Mixed_6a.branch3x3.\1",
    r"mixed(\w\w)_1x1_1_(conv|bn)": r"Mixed_\1.branch1x1.\2",
    r"mixed(\w\w)_pool_1_(conv|bn)": r"Mixed_\1.branch_pool.\2",
    r"mixed(\w\w)_(\w+)_(\w+)_(conv|bn)": r"Mixed_\1.branch\2_\3.\4",
    r"classifier": "fc",
})

# Both sources trained on pixels in [-1, 1]: torchvision's model undoes the ImageNet mean and
# deviation in its first line (transform_input) when it is made with its published weights.
row = partial(variant, "inception_v3", family=FAMILY, preprocess=PREPROCESS["tf"].at(299), min_input_size=75)


@row(
    source="keras",
    reference="keras.applications.InceptionV3",
    source_name=keras_names(),
    params=23_817_352,
    macs=5_713_216_096,
    options={"scale": False, "mean_padding": "same"},
)
@row(
    source="torchvision",
    reference="torchvision.models.inception_v3",
    source_name=TORCHVISION_NAMES,
    params=23_834_568,
    macs=5_713_216_096,
    options={"scale": True, "mean_padding": "symmetric"},
    unused_tensors=(r"AuxLogits\..*",),
)
def inception_v3(image, *, classes, scale, mean_padding):
    """Table 1. scale: whether batch norms have a gamma; mean_padding: see `average_pool`."""

    def conv(x, filters, kernel, stride=1, padding="same", *, name):
        options = {"stride": stride, "padding": padding, "scale": scale}
        return TF.conv_norm(x, filters, kernel, activation="relu", name=name, **options)

    parts = Parts(
        conv=conv,
        pools={
            "max": partial(max_pool, kernel=3, stride=2),
            "mean": partial(average_pool, kernel=3, padding=mean_padding),
        },
    )
    x = parts.chain(image, STEM, name="stem")
    for name, branches in MODULES.items():
        x = parts.module(x, branches, name=name)
    return classify(x, classes)
