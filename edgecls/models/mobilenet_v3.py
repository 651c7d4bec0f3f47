"""MobileNet v3: searched blocks, squeeze and excitation, hard-swish (Howard et al. 2019)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from edgecls.models._blocks import TF, TORCH, activate, keras, make_divisible, squeeze_excite
from edgecls.models._mbconv import (
    TIMM_ENDS,
    TIMM_INVERTED,
    TIMM_SEPARABLE,
    block_number,
    inverted_residual,
    timm_block,
    torchvision_part,
)
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="mobilenet_v3",
    title="MobileNet v3",
    year=2019,
    paper="Howard et al., Searching for MobileNetV3, arXiv:1905.02244",
    tier=Tier.LIGHT,
    idea="Inverted residuals found by search, gated by cheap squeeze and excitation, with hard-swish.",
)

#: Tables 1 and 2 of the paper, blocks of equal output together: kernel, expanded channels, output
#: channels, squeeze and excitation, nonlinearity, stride.
BLOCKS = {
    "large": [
        [(3, 16, 16, False, "relu", 1)],
        [(3, 64, 24, False, "relu", 2), (3, 72, 24, False, "relu", 1)],
        [(5, 72, 40, True, "relu", 2), (5, 120, 40, True, "relu", 1), (5, 120, 40, True, "relu", 1)],
        [
            (3, 240, 80, False, "hard_swish", 2),
            (3, 200, 80, False, "hard_swish", 1),
            (3, 184, 80, False, "hard_swish", 1),
            (3, 184, 80, False, "hard_swish", 1),
        ],
        [(3, 480, 112, True, "hard_swish", 1), (3, 672, 112, True, "hard_swish", 1)],
        [
            (5, 672, 160, True, "hard_swish", 2),
            (5, 960, 160, True, "hard_swish", 1),
            (5, 960, 160, True, "hard_swish", 1),
        ],
    ],
    "small": [
        [(3, 16, 16, True, "relu", 2)],
        [(3, 72, 24, False, "relu", 2), (3, 88, 24, False, "relu", 1)],
        [
            (5, 96, 40, True, "hard_swish", 2),
            (5, 240, 40, True, "hard_swish", 1),
            (5, 240, 40, True, "hard_swish", 1),
        ],
        [(5, 120, 48, True, "hard_swish", 1), (5, 144, 48, True, "hard_swish", 1)],
        [
            (5, 288, 96, True, "hard_swish", 2),
            (5, 576, 96, True, "hard_swish", 1),
            (5, 576, 96, True, "hard_swish", 1),
        ],
    ],
}

#: Tables 1 and 2: width of the layer between the pool and the classifier, at every width of the net.
HIDDEN = {"large": 1280, "small": 1024}

REPEATS = {size: [len(stage) for stage in stages] for size, stages in BLOCKS.items()}


def keras_prefix(m, size):
    number = block_number(m, REPEATS[size]) - 1
    return f"expanded_conv_{number}" if number else "expanded_conv"


def keras_names(size):
    return renamed({
        r"stem_conv": "conv",
        r"stem_bn": "conv_bn",
        r"stage(\d)_block(\d)_se_reduce_conv": lambda m: f"{keras_prefix(m, size)}_squeeze_excite_conv",
        r"stage(\d)_block(\d)_se_expand_conv": lambda m: f"{keras_prefix(m, size)}_squeeze_excite_conv_1",
        r"stage(\d)_block(\d)_(\w+)_conv": lambda m: f"{keras_prefix(m, size)}_{m[3]}",
        r"stage(\d)_block(\d)_(\w+)_bn": lambda m: f"{keras_prefix(m, size)}_{m[3]}_bn",
        r"head_conv": "conv_1",
        r"head_bn": "conv_1_bn",
        r"hidden": "conv_2",
        r"classifier": "logits",
    })


def timm_names(size):
    head = f"blocks.{len(BLOCKS[size])}.0"
    return renamed(TIMM_ENDS | {
        r"stage(1)_block(\d)_(\w+)": timm_block(TIMM_SEPARABLE),
        r"stage(\d)_block(\d)_(\w+)": timm_block(TIMM_INVERTED),
        r"head_conv": f"{head}.conv",
        r"head_bn": f"{head}.bn1",
        r"hidden": "conv_head",
    })


def torchvision_names(size):
    def block(m):
        stage, number = int(m[1]), int(m[2])
        gated = BLOCKS[size][stage - 1][number - 1][3]
        modules = [*(["expand"] if stage > 1 else []), "depthwise", *(["se"] if gated else []), "project"]
        return f"features.{block_number(m, REPEATS[size])}.{torchvision_part(m[3], modules)}"

    head = sum(REPEATS[size]) + 1
    return renamed({
        r"stem_conv": "features.0.0",
        r"stem_bn": "features.0.1",
        r"stage(\d)_block(\d)_(\w+)": block,
        r"head_conv": f"features.{head}.0",
        r"head_bn": f"features.{head}.1",
        r"hidden": "classifier.0",
        r"classifier": "classifier.3",
    })


#: torchvision pads as PyTorch does and took the batch norms' epsilon from TensorFlow.
TORCHVISION = replace(TORCH, epsilon=1e-3)

row = partial(variant, family=FAMILY, min_input_size=32)
keras_row = partial(row, source="keras", preprocess=PREPROCESS["tf"])
timm_row = partial(row, source="timm", preprocess=PREPROCESS["tf"])
torchvision_row = partial(row, source="torchvision", preprocess=PREPROCESS["torch"])


@keras_row(
    "mobilenet_v3_large",
    reference="keras.applications.MobileNetV3Large",
    source_name=keras_names("large"),
    params=5_483_032,
    macs=216_589_760,
    options={"size": "large"},
)
@timm_row(
    "mobilenet_v3_large",
    reference="timm.models.tf_mobilenetv3_large_100",
    source_name=timm_names("large"),
    params=5_483_032,
    macs=216_589_760,
    options={"size": "large"},
)
@torchvision_row(
    "mobilenet_v3_large",
    reference="torchvision.models.mobilenet_v3_large",
    source_name=torchvision_names("large"),
    params=5_483_032,
    macs=216_589_760,
    options={"size": "large", "nn": TORCHVISION},
)
@keras_row(
    "mobilenet_v3_large_075",
    reference="keras.applications.MobileNetV3Large(alpha=0.75)",
    source_name=keras_names("large"),
    params=3_993_528,
    macs=154_560_624,
    options={"size": "large", "width": 0.75},
)
@timm_row(
    "mobilenet_v3_large_075",
    reference="timm.models.tf_mobilenetv3_large_075",
    source_name=timm_names("large"),
    params=3_993_528,
    macs=154_560_624,
    options={"size": "large", "width": 0.75},
)
@keras_row(
    "mobilenet_v3_large_minimalistic",
    reference="keras.applications.MobileNetV3Large(minimalistic=True)",
    source_name=keras_names("large"),
    params=3_924_288,
    macs=209_136_704,
    options={"size": "large", "minimalistic": True},
)
@timm_row(
    "mobilenet_v3_large_minimalistic",
    reference="timm.models.tf_mobilenetv3_large_minimal_100",
    source_name=timm_names("large"),
    params=3_924_288,
    macs=209_136_704,
    options={"size": "large", "minimalistic": True},
)
@keras_row(
    "mobilenet_v3_small",
    reference="keras.applications.MobileNetV3Small",
    source_name=keras_names("small"),
    params=2_542_856,
    macs=56_510_400,
    options={"size": "small"},
)
@timm_row(
    "mobilenet_v3_small",
    reference="timm.models.tf_mobilenetv3_small_100",
    source_name=timm_names("small"),
    params=2_542_856,
    macs=56_510_400,
    options={"size": "small"},
)
@torchvision_row(
    "mobilenet_v3_small",
    reference="torchvision.models.mobilenet_v3_small",
    source_name=torchvision_names("small"),
    params=2_542_856,
    macs=56_510_400,
    options={"size": "small", "nn": TORCHVISION},
)
@keras_row(
    "mobilenet_v3_small_075",
    reference="keras.applications.MobileNetV3Small(alpha=0.75)",
    source_name=keras_names("small"),
    params=2_041_872,
    macs=43_399_344,
    options={"size": "small", "width": 0.75},
)
@timm_row(
    "mobilenet_v3_small_075",
    reference="timm.models.tf_mobilenetv3_small_075",
    source_name=timm_names("small"),
    params=2_041_872,
    macs=43_399_344,
    options={"size": "small", "width": 0.75},
)
@keras_row(
    "mobilenet_v3_small_minimalistic",
    reference="keras.applications.MobileNetV3Small(minimalistic=True)",
    source_name=keras_names("small"),
    params=2_044_736,
    macs=52_288_448,
    options={"size": "small", "minimalistic": True},
)
@timm_row(
    "mobilenet_v3_small_minimalistic",
    reference="timm.models.tf_mobilenetv3_small_minimal_100",
    source_name=timm_names("small"),
    params=2_044_736,
    macs=52_288_448,
    options={"size": "small", "minimalistic": True},
)
def mobilenet_v3(image, *, classes, size, width=1.0, minimalistic=False, nn=TF):
    """Table 1 (`size="large"`) or 2 ("small"), every block `width` times as wide.

    minimalistic: no 5x5 kernels, no squeeze and excitation, ReLU throughout; the authors' code
    has it, the paper has not.
    """
    nonlinear = "relu" if minimalistic else "hard_swish"
    x = nn.conv_norm(image, 16, 3, stride=2, activation=nonlinear, name="stem")
    before = 16
    for stage, blocks in enumerate(BLOCKS[size], start=1):
        for block, (kernel, expanded, channels, gated, activation, stride) in enumerate(blocks, start=1):
            # The ratio of the table is kept, not its rounded product.
            expanded = make_divisible(x.shape[-1] * expanded / before)
            squeeze = partial(squeeze_excite, channels=make_divisible(expanded / 4), gate="hard_sigmoid")
            x = inverted_residual(
                x,
                make_divisible(channels * width),
                expanded=expanded,
                kernel=3 if minimalistic else kernel,
                stride=stride,
                activation="relu" if minimalistic else activation,
                squeeze=squeeze if gated and not minimalistic else None,
                nn=nn,
                name=f"stage{stage}_block{block}",
            )
            before = channels
    x = nn.conv_norm(x, make_divisible(6 * x.shape[-1]), activation=nonlinear, name="head")
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    x = keras.layers.Dense(HIDDEN[size], name="hidden")(x)
    x = activate(x, nonlinear, name="hidden")
    return keras.layers.Dense(classes, name="classifier")(x)
