"""Inception v1, GoogLeNet: windows of several sizes side by side (Szegedy et al. 2014)."""

from __future__ import annotations

from functools import partial

from edgecls.models._blocks import Lineage, activate, classify, local_response_norm, max_pool
from edgecls.models._inception import Parts
from edgecls.models._naming import own_names, renamed
from edgecls.registry import variant
from edgecls.spec import PREPROCESS, Family, Tier

FAMILY = Family(
    name="inception_v1",
    title="Inception v1",
    year=2014,
    paper="Szegedy et al., Going Deeper with Convolutions, arXiv:1409.4842",
    tier=Tier.HEAVY,
    idea="Look at each place with windows of several sizes at once, each behind a cheap 1x1 bottleneck.",
)

#: Table 1 of the paper: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool proj. A pool halves before 4a and 5a.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}

#: The Caffe net's pads with TensorFlow's epsilon, as torchvision ported it.
NN = Lineage("symmetric", 1e-3)

TORCHVISION_NAMES = renamed({
    r"conv(\d)_(conv|bn)": r"conv\1.\2",
    r"inception(\w+)_1x1_1_(conv|bn)": r"inception\1.branch1.\2",
    r"inception(\w+)_3x3_1_(conv|bn)": r"inception\1.branch2.0.\2",
    r"inception(\w+)_3x3_2_(conv|bn)": r"inception\1.branch2.1.\2",
    r"inception(\w+)_5x5_1_(conv|bn)": r"inception\1.branch3.0.\2",
    r"inception(\w+)_5x5_2_(conv|bn)": r"inception\1.branch3.1.\2",
    r"inception(\w+)_pool_1_(conv|bn)": r"inception\1.branch4.1.\2",
    r"classifier": "fc",
})

row = partial(variant, family=FAMILY, min_input_size=32)


@row(
    "inception_v1",
    aliases=("googlenet",),
    source="torchvision",
    reference="torchvision.models.googlenet",
    source_name=TORCHVISION_NAMES,
    params=6_624_904,
    macs=1_498_376_192,
    # Trained on pixels in [-1, 1]: with its published weights torchvision's model undoes the
    # ImageNet mean and deviation in its first line (transform_input).
    preprocess=PREPROCESS["tf"],
    options={"batch_norm": True, "wide": 3, "last_pool": 2},
    unused_tensors=(r"aux[12]\..*",),
)
@row(
    "inception_v1_paper",
    source="paper",
    reference="table 1 and figure 3",
    source_name=own_names,
    params=6_998_552,
    macs=1_582_671_872,
    preprocess=PREPROCESS["caffe"],
    options={"batch_norm": False, "wide": 5, "last_pool": 3},
)
def inception_v1(image, *, classes, batch_norm, wide, last_pool):
    """Table 1.

    batch_norm: after every convolution; without it the stem has the paper's local response norms.
    wide: kernel of the branch called 5x5; last_pool: window of the pool before 5a.
    """

    def conv(x, filters, kernel, stride=1, *, name):
        x = NN.conv(x, filters, kernel, stride=stride, bias=not batch_norm, name=name)
        return activate(NN.norm(x, name=name) if batch_norm else x, "relu", name=name)

    def norm(x, *, name):
        return x if batch_norm else local_response_norm(x, name=name)

    parts = Parts(conv=conv, pools={"max": partial(max_pool, kernel=3, stride=1, padding="same")})
    x = conv(image, 64, 7, 2, name="conv1")
    x = norm(max_pool(x, 3, stride=2, padding="ceil", name="pool1"), name="norm1")
    x = conv(x, 64, 1, name="conv2")
    x = norm(conv(x, 192, 3, name="conv3"), name="norm2")
    x = max_pool(x, 3, stride=2, padding="ceil", name="pool2")
    for name, widths in MODULES.items():
        if name == "4a":
            x = max_pool(x, 3, stride=2, padding="ceil", name="pool3")
        if name == "5a":
            x = max_pool(x, last_pool, stride=2, padding="ceil", name="pool4")
        x = parts.module(x, figure_2b(*widths, wide), name=f"inception{name}")
    return classify(x, classes)


def figure_2b(one, three_reduce, three, five_reduce, five, pool, wide):
    return {
        "1x1": [(one, 1)],
        "3x3": [(three_reduce, 1), (three, 3)],
        "5x5": [(five_reduce, 1), (five, wide)],
        "pool": ["max", (pool, 1)],
    }
