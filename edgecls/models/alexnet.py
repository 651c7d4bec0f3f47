"""AlexNet: the convolutional network that won ImageNet (Krizhevsky et al. 2012)."""

from __future__ import annotations

import dataclasses
from functools import partial

from edgecls.models._blocks import (
    TORCH,
    activate,
    adaptive_mean,
    classify_flat,
    local_response_norm,
    max_pool,
)
from edgecls.models._naming import own_names, renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="alexnet",
    title="AlexNet",
    year=2012,
    paper="Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012",
    tier=Tier.HEAVY,
    idea="Convolutions and ReLU trained end to end on two graphics cards; each card keeps half the channels.",
)

TORCHVISION_NAMES = renamed({
    r"conv1_conv": "features.0",
    r"conv2_conv": "features.3",
    r"conv3_conv": "features.6",
    r"conv4_conv": "features.8",
    r"conv5_conv": "features.10",
    r"fc1": "classifier.1",
    r"fc2": "classifier.4",
    r"classifier": "classifier.6",
})

row = partial(variant, family=FAMILY)


@row(
    "alexnet",
    source="torchvision",
    reference="torchvision.models.alexnet",
    source_name=TORCHVISION_NAMES,
    params=61_100_840,
    macs=714_188_480,
    preprocess=PREPROCESS["torch"],
    min_input_size=63,
    size_reason="the last max pool needs 3x3 pixels",
)
def alexnet(image, *, classes):
    """The one-card version of Krizhevsky's later note (arXiv:1404.5997, footnote 1): no groups, no LRN."""
    x = conv(image, 64, 11, stride=4, padding=(2, 2), name="conv1")
    x = max_pool(x, 3, stride=2, name="pool1")
    x = conv(x, 192, 5, name="conv2")
    x = max_pool(x, 3, stride=2, name="pool2")
    x = conv(x, 384, 3, name="conv3")
    x = conv(x, 256, 3, name="conv4")
    x = conv(x, 256, 3, name="conv5")
    x = max_pool(x, 3, stride=2, name="pool5")
    return classify_flat(adaptive_mean(x, 6), classes)


@row(
    "alexnet_2012",
    source="paper",
    reference="figure 2 and section 3.5",
    source_name=own_names,
    params=60_965_224,
    macs=724_406_816,
    preprocess=dataclasses.replace(PREPROCESS["caffe"], crop=227),
    min_input_size=67,
    size_reason="the last max pool needs 3x3 pixels",
)
def alexnet_2012(image, *, classes):
    """Figure 2: convolutions 2, 4 and 5 see their own card's channels only, so they have two groups.

    The figure's 224 pixels do not give its 55x55 maps; 227 do.
    """
    x = conv(image, 96, 11, stride=4, padding="valid", name="conv1")
    x = max_pool(local_response_norm(x, name="norm1"), 3, stride=2, name="pool1")
    x = conv(x, 256, 5, groups=2, name="conv2")
    x = max_pool(local_response_norm(x, name="norm2"), 3, stride=2, name="pool2")
    x = conv(x, 384, 3, name="conv3")
    x = conv(x, 384, 3, groups=2, name="conv4")
    x = conv(x, 256, 3, groups=2, name="conv5")
    x = max_pool(x, 3, stride=2, name="pool5")
    return classify_flat(x, classes)


def conv(x, filters, kernel, *, name, **options):
    return activate(TORCH.conv(x, filters, kernel, bias=True, name=name, **options), "relu", name=name)
