"""Inception-ResNet v1 and v2: Inception modules as residual blocks (Szegedy et al. 2016)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

from edgecls.models._blocks import TF, activate, average_pool, classify, keras, max_pool
from edgecls.models._inception import Branches, Parts, conv_names, module_conv_names, torch_branches
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="inception_resnet",
    title="Inception-ResNet",
    year=2016,
    paper="Szegedy et al., Inception-v4, Inception-ResNet and the Impact of Residual Connections on "
    "Learning, arXiv:1602.07261",
    tier=Tier.HEAVY,
    idea="Let Inception modules correct their input; scaled down, so that training stays stable.",
)


@dataclass(frozen=True)
class Block:
    """A module, or with a `scale` a residual block: x + scale * (module widened back to x by 1x1)."""

    name: str
    branches: Branches
    scale: float | None = None
    activation: str | None = "relu"


#: Figure 14 of the paper for v1; v2 has the stem of Inception v3 in all code, not figure 3's.
STEM_V2 = [
    (32, 3, 2, "valid"),
    (32, 3, 1, "valid"),
    (64, 3),
    "max",
    (80, 1, 1, "valid"),
    (192, 3, 1, "valid"),
    "max",
]
STEM_V1 = [*STEM_V2[:-1], (256, 3, 2, "valid")]


#: Figures 10, 7, 11, 12 and 13; repeats as in figure 15, the last C without scale and ReLU.
A_V1 = {"1x1": [(32, 1)], "3x3": [(32, 1), (32, 3)], "double": [(32, 1), (32, 3), (32, 3)]}
B_V1 = {"1x1": [(128, 1)], "7x7": [(128, 1), (128, (1, 7)), (128, (7, 1))]}
C_V1 = {"1x1": [(192, 1)], "3x3": [(192, 1), (192, (1, 3)), (192, (3, 1))]}
V1 = [
    *[Block(f"block35_{n}", A_V1, 0.17) for n in range(1, 6)],
    Block("mixed6a", {
        "3x3": [(384, 3, 2, "valid")],
        "double": [(192, 1), (192, 3), (256, 3, 2, "valid")],
        "pool": ["max"],
    }),
    *[Block(f"block17_{n}", B_V1, 0.10) for n in range(1, 11)],
    Block("mixed7a", {
        "3x3a": [(256, 1), (384, 3, 2, "valid")],
        "3x3b": [(256, 1), (256, 3, 2, "valid")],
        "double": [(256, 1), (256, 3), (256, 3, 2, "valid")],
        "pool": ["max"],
    }),
    *[Block(f"block8_{n}", C_V1, 0.20) for n in range(1, 6)],
    Block("block8_6", C_V1, 1.0, activation=None),
]

#: Figures 16, 7, 17, 18 and 19; repeats as released with the paper, twice those of figure 15.
A_V2 = {"1x1": [(32, 1)], "3x3": [(32, 1), (32, 3)], "double": [(32, 1), (48, 3), (64, 3)]}
B_V2 = {"1x1": [(192, 1)], "7x7": [(128, 1), (160, (1, 7)), (192, (7, 1))]}
C_V2 = {"1x1": [(192, 1)], "3x3": [(192, 1), (224, (1, 3)), (256, (3, 1))]}
V2 = [
    Block("mixed5b", {
        "1x1": [(96, 1)],
        "5x5": [(48, 1), (64, 5)],
        "double": [(64, 1), (96, 3), (96, 3)],
        "pool": ["mean", (64, 1)],
    }),
    *[Block(f"block35_{n}", A_V2, 0.17) for n in range(1, 11)],
    Block("mixed6a", {
        "3x3": [(384, 3, 2, "valid")],
        "double": [(256, 1), (256, 3), (384, 3, 2, "valid")],
        "pool": ["max"],
    }),
    *[Block(f"block17_{n}", B_V2, 0.10) for n in range(1, 21)],
    Block("mixed7a", {
        "3x3a": [(256, 1), (384, 3, 2, "valid")],
        "3x3b": [(256, 1), (288, 3, 2, "valid")],
        "double": [(256, 1), (288, 3), (320, 3, 2, "valid")],
        "pool": ["max"],
    }),
    *[Block(f"block8_{n}", C_V2, 0.20) for n in range(1, 10)],
    Block("block8_10", C_V2, 1.0, activation=None),
]


def keras_names():
    """Keras numbers most convolutions in the order in which they are made, and names the others."""
    convolutions = list(conv_names(STEM_V2, "stem"))
    for block in V2:
        convolutions += module_conv_names(block.branches, block.name)
    rules = {
        r"(block\d+_\d+)_up_conv": r"\1_conv",
        r"head_conv": "conv_7b",
        r"head_bn": "conv_7b_bn",
        r"classifier": "predictions",
    }
    for number, convolution in enumerate(convolutions, start=1):
        rules[f"{convolution}_conv"] = f"conv2d_{number}"
        rules[f"{convolution}_bn"] = f"batch_normalization_{number}"
    return renamed(rules)


def timm_names():
    rules = {
        r"head_(conv|bn)": r"conv2d_7b.\1",
        r"classifier": "classif",
    }
    for convolution, module in zip(conv_names(STEM_V2, "stem"), ("1a", "2a", "2b", "3b", "4a"), strict=True):
        rules[rf"{convolution}_(conv|bn)"] = rf"conv2d_{module}.\1"
    repeats = {"block35": "repeat", "block17": "repeat_1", "block8": "repeat_2"}
    for block in V2:
        kind, _, number = block.name.partition("_")
        if not number:
            module = f"mixed_{kind.removeprefix('mixed')}"
        elif block is V2[-1]:
            module = "block8"
        else:
            module = f"{repeats[kind]}.{int(number) - 1}"
        rules |= torch_branches(block.branches, block.name, module)
        rules[f"{block.name}_up_conv"] = f"{module}.conv2d"
    return renamed(rules)


def _unit(suffix):
    """pytorchcv begins a stage with the module that halves, which has no number of its own."""
    first = {"block35": (1, 0), "mixed6a": (2, 1), "block17": (2, 1), "mixed7a": (3, 1), "block8": (3, 1)}

    def module(m):
        stage, offset = first[m[1]]
        return f"features.stage{stage}.unit{int(m[2] or 0) + offset}.{m.expand(suffix)}"

    return module


PYTORCHCV_NAMES = renamed({
    r"stem_(\d)_(conv|bn)": r"features.init_block.conv\1.\2",
    r"(block\d+)_(\d+)_up_conv": _unit("conv"),
    r"(block\d+)_(\d+)_1x1_1_(conv|bn)": _unit(r"branches.branch1.conv.\3"),
    r"(block\d+)_(\d+)_(?:3x3|7x7)_(\d)_(conv|bn)": _unit(r"branches.branch2.conv_list.conv\3.\4"),
    r"(block\d+)_(\d+)_double_(\d)_(conv|bn)": _unit(r"branches.branch3.conv_list.conv\3.\4"),
    r"(mixed6a)()_3x3_(\d)_(conv|bn)": _unit(r"branches.branch1.conv_list.conv\3.\4"),
    r"(mixed6a)()_double_(\d)_(conv|bn)": _unit(r"branches.branch2.conv_list.conv\3.\4"),
    r"(mixed7a)()_3x3a_(\d)_(conv|bn)": _unit(r"branches.branch1.conv_list.conv\3.\4"),
    r"(mixed7a)()_3x3b_(\d)_(conv|bn)": _unit(r"branches.branch2.conv_list.conv\3.\4"),
    r"(mixed7a)()_double_(\d)_(conv|bn)": _unit(r"branches.branch3.conv_list.conv\3.\4"),
    r"embedding": "output.fc1",
    r"embedding_bn": "output.bn",
    r"classifier": "output.fc2",
})

row = partial(variant, family=FAMILY, min_input_size=75)


@row(
    "inception_resnet_v1",
    source="pytorchcv",
    reference="pytorchcv.models.inceptionresnetv1.inceptionresnetv1",
    source_name=PYTORCHCV_NAMES,
    params=23_995_624,
    macs=6_308_235_360,
    preprocess=PREPROCESS["tf"].at(299),
)
def inception_resnet_v1(image, *, classes):
    """Figure 15, with pytorchcv's layer of 512 in front of the classifier."""
    x = body(image, STEM_V1, V1, scale=True)
    x = keras.layers.GlobalAveragePooling2D(name="embedding_pool")(x)
    x = keras.layers.Dense(512, use_bias=False, name="embedding")(x)
    x = TF.norm(x, name="embedding")
    return keras.layers.Dense(classes, name="classifier")(x)


@row(
    "inception_resnet_v2",
    source="keras",
    reference="keras.applications.InceptionResNetV2",
    source_name=keras_names(),
    params=55_813_192,
    macs=13_155_794_016,
    preprocess=PREPROCESS["tf"].at(299),
    options={"scale": False},
)
@row(
    "inception_resnet_v2",
    source="timm",
    reference="timm.models.inception_resnet_v2",
    source_name=timm_names(),
    params=55_843_464,
    macs=13_155_794_016,
    preprocess=dataclasses.replace(PREPROCESS["tf"], resize=333, crop=299, interpolation="bicubic"),
    options={"scale": True},
)
def inception_resnet_v2(image, *, classes, scale):
    """Figure 15 with twice the repeats. scale: whether batch norms have a gamma."""
    x = body(image, STEM_V2, V2, scale=scale)
    x = TF.conv_norm(x, 1536, scale=scale, activation="relu", name="head")
    return classify(x, classes)


def body(image, stem, blocks, *, scale):
    def conv(x, filters, kernel, stride=1, padding="same", *, name):
        options = {"stride": stride, "padding": padding, "scale": scale}
        return TF.conv_norm(x, filters, kernel, activation="relu", name=name, **options)

    parts = Parts(
        conv=conv,
        pools={
            "max": partial(max_pool, kernel=3, stride=2),
            "mean": partial(average_pool, kernel=3, padding="same"),
        },
    )
    x = parts.chain(image, stem, name="stem")
    for block in blocks:
        y = parts.module(x, block.branches, name=block.name)
        x = y if block.scale is None else residual(x, y, block)
    return x


def residual(x, y, block):
    """Section 3.3: the module's channels back to those of x by a linear 1x1, scaled, added to x."""
    y = TF.conv(y, x.shape[-1], bias=True, name=f"{block.name}_up")
    if block.scale != 1.0:
        y = keras.layers.Rescaling(block.scale, name=f"{block.name}_scale")(y)
    x = keras.layers.Add(name=f"{block.name}_add")([x, y])
    return activate(x, block.activation, name=block.name)
