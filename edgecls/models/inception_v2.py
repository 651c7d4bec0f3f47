"""Inception v2, BN-Inception: batch normalization tried on Inception (Ioffe and Szegedy 2015)."""

from __future__ import annotations

from functools import partial

from edgecls.models._blocks import TORCH, average_pool, classify, max_pool
from edgecls.models._inception import Parts
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="inception_v2",
    title="Inception v2",
    year=2015,
    paper="Ioffe and Szegedy, Batch Normalization: Accelerating Deep Network Training by Reducing Internal "
    "Covariate Shift, arXiv:1502.03167",
    tier=Tier.HEAVY,
    idea="Normalise every layer over the batch; 5x5 windows become two of 3x3.",
)


def figure_5(one, three_reduce, three, double_reduce, double, pool, proj):
    """A row of the paper's figure 5 with stride 1."""
    return {
        "1x1": [(one, 1)],
        "3x3": [(three_reduce, 1), (three, 3)],
        "double": [(double_reduce, 1), (double, 3), (double, 3)],
        "pool": [pool, (proj, 1)],
    }


def figure_5_halving(three_reduce, three, double_reduce, double):
    """A row of the paper's figure 5 with stride 2, whose pool passes through."""
    return {
        "3x3": [(three_reduce, 1), (three, 3, 2)],
        "double": [(double_reduce, 1), (double, 3), (double, 3, 2)],
        "pool": ["halve"],
    }


#: Figure 5 of the paper.
MODULES = {
    "3a": figure_5(64, 64, 64, 64, 96, "mean", 32),
    "3b": figure_5(64, 64, 96, 64, 96, "mean", 64),
    "3c": figure_5_halving(128, 160, 64, 96),
    "4a": figure_5(224, 64, 96, 96, 128, "mean", 128),
    "4b": figure_5(192, 96, 128, 96, 128, "mean", 128),
    "4c": figure_5(160, 128, 160, 128, 160, "mean", 128),
    "4d": figure_5(96, 128, 192, 160, 192, "mean", 128),
    "4e": figure_5_halving(128, 192, 192, 256),
    "5a": figure_5(352, 192, 320, 160, 224, "mean", 128),
    "5b": figure_5(352, 192, 320, 192, 224, "max", 128),
}

#: pytorchcv begins a stage with the module that halves.
UNITS = {
    "3a": "stage1.unit1",
    "3b": "stage1.unit2",
    "3c": "stage2.unit1",
    "4a": "stage2.unit2",
    "4b": "stage2.unit3",
    "4c": "stage2.unit4",
    "4d": "stage2.unit5",
    "4e": "stage3.unit1",
    "5a": "stage3.unit2",
    "5b": "stage3.unit3",
}


def _unit(branch):
    return lambda m: f"features.{UNITS[m[1]]}.branches.{m.expand(branch)}"


PYTORCHCV_NAMES = renamed({
    r"conv1_(conv|bn)": r"features.init_block.conv1.\1",
    r"conv2_(conv|bn)": r"features.init_block.conv2.conv1.\1",
    r"conv3_(conv|bn)": r"features.init_block.conv2.conv2.\1",
    r"inception(3c|4e)_3x3_(\d)_(conv|bn)": _unit(r"branch1.conv\2.\3"),
    r"inception(3c|4e)_double_(\d)_(conv|bn)": _unit(r"branch2.conv\2.\3"),
    r"inception(\w+)_1x1_1_(conv|bn)": _unit(r"branch1.\2"),
    r"inception(\w+)_3x3_(\d)_(conv|bn)": _unit(r"branch2.conv\2.\3"),
    r"inception(\w+)_double_(\d)_(conv|bn)": _unit(r"branch3.conv\2.\3"),
    r"inception(\w+)_pool_1_(conv|bn)": _unit(r"branch4.conv.\2"),
    r"classifier": "output",
})


@variant(
    "inception_v2",
    source="pytorchcv",
    reference="pytorchcv.models.bninception.bninception",
    family=FAMILY,
    source_name=PYTORCHCV_NAMES,
    params=11_295_240,
    macs=2_032_600_064,
    preprocess=PREPROCESS["torch"],
    min_input_size=32,
)
def inception_v2(image, *, classes):
    """Figure 5, as its authors' Caffe net: convolutions keep a bias in front of the batch norm."""

    def conv(x, filters, kernel, stride=1, *, name):
        return TORCH.conv_norm(x, filters, kernel, stride=stride, bias=True, activation="relu", name=name)

    parts = Parts(
        conv=conv,
        pools={
            "mean": partial(average_pool, kernel=3, padding="symmetric"),
            "max": partial(max_pool, kernel=3, stride=1, padding="same"),
            "halve": partial(max_pool, kernel=3, stride=2, padding="ceil"),
        },
    )
    x = conv(image, 64, 7, 2, name="conv1")
    x = parts.pools["halve"](x, name="pool1")
    x = conv(x, 64, 1, name="conv2")
    x = conv(x, 192, 3, name="conv3")
    x = parts.pools["halve"](x, name="pool2")
    for name, branches in MODULES.items():
        x = parts.module(x, branches, name=f"inception{name}")
    return classify(x, classes)
