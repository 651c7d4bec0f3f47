"""SqueezeNet: few channels into every 3x3 convolution (Iandola et al. 2016)."""

from __future__ import annotations

from functools import partial

from edgecls.models._blocks import TORCH as nn
from edgecls.models._blocks import activate, keras, max_pool
from edgecls.models._naming import renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="squeezenet",
    title="SqueezeNet",
    year=2016,
    paper="Iandola et al., SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model "
    "size, arXiv:1602.07360",
    tier=Tier.LIGHT,
    idea="Squeeze to few channels with 1x1 convolutions before every 3x3, and have no dense layer.",
)

#: Channels and kernel of the first convolution.
STEMS = {"1_0": (96, 7), "1_1": (64, 3)}

#: Fire modules, fire2 to fire9, as (squeezed channels, channels of each expansion); a max pool goes
#: before each group. 1_0 is table 1 of the paper; in 1_1 the authors moved the pools forward.
FIRES = {
    "1_0": [
        [(16, 64), (16, 64), (32, 128)],
        [(32, 128), (48, 192), (48, 192), (64, 256)],
        [(64, 256)],
    ],
    "1_1": [
        [(16, 64), (16, 64)],
        [(32, 128), (32, 128)],
        [(48, 192), (48, 192), (64, 256), (64, 256)],
    ],
}


def torchvision_names(version):
    """Names there are places in a list: convolution, ReLU, then pools and fire modules."""
    kinds = ["conv", "relu"] + [kind for group in FIRES[version] for kind in ("pool", *group)]
    places = [place for place, kind in enumerate(kinds) if isinstance(kind, tuple)]
    return renamed({
        r"stem_conv": "features.0",
        r"fire(\d)_(\w+)_conv": lambda m: f"features.{places[int(m[1]) - 2]}.{m[2]}",
        r"classifier_conv": "classifier.1",
    })


torchvision_row = partial(variant, source="torchvision", family=FAMILY, preprocess=PREPROCESS["torch"])


@torchvision_row(
    "squeezenet1_0",
    reference="torchvision.models.squeezenet1_0",
    source_name=torchvision_names("1_0"),
    params=1_248_424,
    macs=818_924_576,
    min_input_size=21,
    options={"version": "1_0"},
)
@torchvision_row(
    "squeezenet1_1",
    reference="torchvision.models.squeezenet1_1",
    source_name=torchvision_names("1_1"),
    params=1_235_496,
    macs=349_151_936,
    min_input_size=17,
    options={"version": "1_1"},
)
def squeezenet(image, *, classes, version):
    """Table 1 ("1_0"), or the authors' later version with 2.4 times fewer MACs ("1_1")."""
    channels, kernel = STEMS[version]
    x = conv_relu(image, channels, kernel, stride=2, padding="valid", name="stem")
    number = 1
    for group in FIRES[version]:
        x = max_pool(x, 3, stride=2, padding="ceil", name=f"fire{number}_pool")
        for squeezed, expanded in group:
            number += 1
            x = fire(x, squeezed, expanded, name=f"fire{number}")
    x = conv_relu(x, classes, name="classifier")
    return keras.layers.GlobalAveragePooling2D(name="classifier_pool")(x)


def fire(x, squeezed, expanded, *, name):
    """Figure 1: 1x1 down to `squeezed` channels, then 1x1 and 3x3 side by side."""
    x = conv_relu(x, squeezed, name=f"{name}_squeeze")
    branches = [
        conv_relu(x, expanded, 1, name=f"{name}_expand1x1"),
        conv_relu(x, expanded, 3, name=f"{name}_expand3x3"),
    ]
    return keras.layers.Concatenate(name=f"{name}_concat")(branches)


def conv_relu(x, channels, kernel=1, *, name, **options):
    return activate(nn.conv(x, channels, kernel, bias=True, name=name, **options), "relu", name=name)
