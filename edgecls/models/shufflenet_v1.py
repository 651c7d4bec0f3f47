"""ShuffleNet v1: grouped 1x1 convolutions, channels shuffled between them (Zhang et al. 2017)."""

from __future__ import annotations

from functools import partial

from edgecls.models._blocks import TORCH as nn
from edgecls.models._blocks import activate, average_pool, channel_shuffle, keras, max_pool
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="shufflenet_v1",
    title="ShuffleNet v1",
    year=2017,
    paper="Zhang et al., ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile "
    "Devices, arXiv:1707.01083",
    tier=Tier.LIGHT,
    idea="Split the costly 1x1 convolutions into groups, and shuffle channels so that groups talk.",
)

#: Table 1 of the paper: output channels of stages 2, 3, 4 by groups, at width 1.
CHANNELS = {
    1: (144, 288, 576),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}

#: Table 1 of the paper: blocks in stages 2, 3, 4; the first of each has stride 2.
REPEATS = (4, 8, 4)

#: The authors' code: channels of the first convolution by (groups, width).
MEGVII_STEMS = {
    (3, 0.5): 12,
    (3, 1.0): 24,
    (3, 1.5): 24,
    (3, 2.0): 48,
    (8, 0.5): 16,
    (8, 1.0): 24,
    (8, 1.5): 24,
    (8, 2.0): 48,
}

PYTORCHCV_PARTS = {"reduce": "compress_{}1", "depthwise": "dw_{}2", "expand": "expand_{}3"}

PYTORCHCV_NAMES = renamed({
    r"stem_(conv|bn)": r"features.init_block.\1",
    r"stage(\d)_block(\d)_(\w+)_(conv|bn)": lambda m: (
        f"features.stage{int(m[1]) - 1}.unit{m[2]}.{PYTORCHCV_PARTS[m[3]].format(m[4])}"
    ),
    r"classifier": "output",
})

MEGVII_PARTS = {
    "reduce_conv": "branch_main_1.0",
    "reduce_bn": "branch_main_1.1",
    "depthwise_conv": "branch_main_1.3",
    "depthwise_bn": "branch_main_1.4",
    "expand_conv": "branch_main_2.0",
    "expand_bn": "branch_main_2.1",
}


def megvii_block(m):
    number = sum(REPEATS[: int(m[1]) - 2]) + int(m[2]) - 1
    return f"features.{number}.{MEGVII_PARTS[m[3]]}"


MEGVII_NAMES = renamed({
    r"stem_conv": "first_conv.0",
    r"stem_bn": "first_conv.1",
    r"stage(\d)_block(\d)_(\w+)": megvii_block,
    r"classifier": "classifier.0",
})

row = partial(variant, family=FAMILY, min_input_size=32, preprocess=PREPROCESS["torch"])
pytorchcv_row = partial(row, source="pytorchcv", source_name=PYTORCHCV_NAMES)
megvii_row = partial(row, source="megvii", source_name=MEGVII_NAMES)


@pytorchcv_row(
    "shufflenet_v1_g1",
    reference="pytorchcv.models.shufflenet.get_shufflenet(groups=1, width_scale=1.0)",
    params=1_531_936,
    macs=143_078_976,
    options={"groups": 1},
)
@pytorchcv_row(
    "shufflenet_v1_g1_x0_25",
    reference="pytorchcv.models.shufflenet.get_shufflenet(groups=1, width_scale=0.25)",
    params=209_746,
    macs=11_003_184,
    options={"groups": 1, "width": 0.25},
)
@pytorchcv_row(
    "shufflenet_v1_g1_x0_5",
    reference="pytorchcv.models.shufflenet.get_shufflenet(groups=1, width_scale=0.5)",
    params=534_484,
    macs=38_517_408,
    options={"groups": 1, "width": 0.5},
)
@pytorchcv_row(
    "shufflenet_v1_g1_x1_5",
    reference="pytorchcv.models.shufflenet.get_shufflenet(groups=1, width_scale=1.5)",
    params=2_993_356,
    macs=313_684_704,
    options={"groups": 1, "width": 1.5},
)
@pytorchcv_row(
    "shufflenet_v1_g1_x2_0",
    reference="pytorchcv.models.shufflenet.get_shufflenet(groups=1, width_scale=2.0)",
    params=4_918_744,
    macs=550_334_592,
    options={"groups": 1, "width": 2.0},
)
@pytorchcv_row(
    "shufflenet_v1_g2",
    reference="pytorchcv.models.shufflenet.get_shufflenet(groups=2, width_scale=1.0)",
    params=1_733_848,
    macs=140_836_512,
    options={"groups": 2},
)
@pytorchcv_row(
    "shufflenet_v1_g2_x2_0",
    reference="pytorchcv.models.shufflenet.get_shufflenet(groups=2, width_scale=2.0)",
    params=5_257_896,
    macs=539_138_624,
    options={"groups": 2, "width": 2.0},
)
@pytorchcv_row(
    "shufflenet_v1_g3",
    reference="pytorchcv.models.shufflenet.get_shufflenet(groups=3, width_scale=1.0)",
    params=1_865_728,
    macs=137_460_672,
    options={"groups": 3},
)
@megvii_row(
    "shufflenet_v1_g3",
    reference="megvii-model/ShuffleNet-Series ShuffleNetV1(model_size='1.0x', group=3)",
    params=1_864_728,
    macs=137_460_672,
    options={"groups": 3, "megvii": True},
)
@pytorchcv_row(
    "shufflenet_v1_g3_x0_25",
    reference="pytorchcv.models.shufflenet.get_shufflenet(groups=3, width_scale=0.25)",
    params=305_902,
    macs=11_009_808,
    options={"groups": 3, "width": 0.25},
)
@pytorchcv_row(
    "shufflenet_v1_g3_x0_5",
    reference="pytorchcv.models.shufflenet.get_shufflenet(groups=3, width_scale=0.5)",
    params=718_324,
    macs=37_589_856,
    options={"groups": 3, "width": 0.5},
)
@megvii_row(
    "shufflenet_v1_g3_x0_5",
    reference="megvii-model/ShuffleNet-Series ShuffleNetV1(model_size='0.5x', group=3)",
    params=717_324,
    macs=37_589_856,
    options={"groups": 3, "width": 0.5, "megvii": True},
)
@pytorchcv_row(
    "shufflenet_v1_g3_x1_5",
    reference="pytorchcv.models.shufflenet.get_shufflenet(groups=3, width_scale=1.5)",
    params=3_443_212,
    macs=299_612_448,
    options={"groups": 3, "width": 1.5},
)
@megvii_row(
    "shufflenet_v1_g3_x1_5",
    reference="megvii-model/ShuffleNet-Series ShuffleNetV1(model_size='1.5x', group=3)",
    params=3_441_168,
    macs=292_443_552,
    options={"groups": 3, "width": 1.5, "megvii": True},
)
@pytorchcv_row(
    "shufflenet_v1_g3_x2_0",
    reference="pytorchcv.models.shufflenet.get_shufflenet(groups=3, width_scale=2.0)",
    params=5_450_776,
    macs=524_045_184,
    options={"groups": 3, "width": 2.0},
)
@megvii_row(
    "shufflenet_v1_g3_x2_0",
    reference="megvii-model/ShuffleNet-Series ShuffleNetV1(model_size='2.0x', group=3)",
    params=5_449_776,
    macs=524_045_184,
    options={"groups": 3, "width": 2.0, "megvii": True},
)
@pytorchcv_row(
    "shufflenet_v1_g4",
    reference="pytorchcv.models.shufflenet.get_shufflenet(groups=4, width_scale=1.0)",
    params=1_968_344,
    macs=134_339_776,
    options={"groups": 4},
)
@pytorchcv_row(
    "shufflenet_v1_g4_x2_0",
    reference="pytorchcv.models.shufflenet.get_shufflenet(groups=4, width_scale=2.0)",
    params=5_593_528,
    macs=510_289_536,
    options={"groups": 4, "width": 2.0},
)
@pytorchcv_row(
    "shufflenet_v1_g8",
    reference="pytorchcv.models.shufflenet.get_shufflenet(groups=8, width_scale=1.0)",
    params=2_434_768,
    macs=138_365_952,
    options={"groups": 8},
)
@megvii_row(
    "shufflenet_v1_g8",
    reference="megvii-model/ShuffleNet-Series ShuffleNetV1(model_size='1.0x', group=8)",
    params=2_433_768,
    macs=138_365_952,
    options={"groups": 8, "megvii": True},
)
@megvii_row(
    "shufflenet_v1_g8_x0_5",
    reference="megvii-model/ShuffleNet-Series ShuffleNetV1(model_size='0.5x', group=8)",
    params=1_010_448,
    macs=40_469_760,
    options={"groups": 8, "width": 0.5, "megvii": True},
)
@megvii_row(
    "shufflenet_v1_g8_x1_5",
    reference="megvii-model/ShuffleNet-Series ShuffleNetV1(model_size='1.5x', group=8)",
    params=4_268_952,
    macs=290_188_800,
    options={"groups": 8, "width": 1.5, "megvii": True},
)
@pytorchcv_row(
    "shufflenet_v1_g8_x2_0",
    reference="pytorchcv.models.shufflenet.get_shufflenet(groups=8, width_scale=2.0)",
    params=6_522_232,
    macs=521_942_016,
    options={"groups": 8, "width": 2.0},
)
@megvii_row(
    "shufflenet_v1_g8_x2_0",
    reference="megvii-model/ShuffleNet-Series ShuffleNetV1(model_size='2.0x', group=8)",
    params=6_521_232,
    macs=521_942_016,
    options={"groups": 8, "width": 2.0, "megvii": True},
)
def shufflenet_v1(image, *, classes, groups, width=1.0, megvii=False):
    """Table 1, every layer `width` times as wide.

    megvii: as the authors' code has it, with its own first convolution and without the
        classifier's bias; see also `shuffle_block`.
    """
    stem = MEGVII_STEMS[groups, width] if megvii else int(24 * width)
    x = nn.conv_norm(image, stem, 3, stride=2, activation="relu", name="stem")
    x = max_pool(x, 3, stride=2, padding="symmetric", name="stem_pool")
    for stage, (channels, repeats) in enumerate(zip(CHANNELS[groups], REPEATS, strict=True), start=2):
        for block in range(1, repeats + 1):
            first = stage == 2 and block == 1
            x = shuffle_block(
                x,
                int(channels * width),
                groups=groups,
                reduce_groups=1 if first else groups,  # too few channels to split (section 3.3)
                stride=2 if block == 1 else 1,
                megvii=megvii,
                name=f"stage{stage}_block{block}",
            )
    x = keras.layers.GlobalAveragePooling2D(name="classifier_pool")(x)
    return keras.layers.Dense(classes, use_bias=not megvii, name="classifier")(x)


def shuffle_block(x, channels, *, groups, reduce_groups, stride, megvii, name):
    """Figure 2b; with stride 2 figure 2c, whose shortcut is an average pool, joined by concatenation.

    megvii: shuffle after the depthwise convolution, by the inverse permutation, and join the
        shortcut first.
    """
    shortcut, squeezed = x, channels // 4
    if stride == 2:
        channels -= x.shape[-1]
        shortcut = average_pool(x, 3, stride=2, padding="symmetric", name=f"{name}_pool")
    x = nn.conv_norm(x, squeezed, groups=reduce_groups, activation="relu", name=f"{name}_reduce")
    if groups > 1 and not megvii:
        x = channel_shuffle(x, groups, name=f"{name}_shuffle")
    x = nn.depthwise_norm(x, 3, stride=stride, name=f"{name}_depthwise")
    if groups > 1 and megvii:
        x = channel_shuffle(x, squeezed // groups, name=f"{name}_shuffle")
    x = nn.conv_norm(x, channels, groups=groups, name=f"{name}_expand")
    if stride == 1:
        x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
        return activate(x, "relu", name=f"{name}_add")
    x = activate(x, "relu", name=f"{name}_expand")
    joined = [shortcut, x] if megvii else [x, shortcut]
    return keras.layers.Concatenate(name=f"{name}_concat")(joined)
