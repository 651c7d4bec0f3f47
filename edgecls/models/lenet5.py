"""LeNet-5: the convolutional network that read cheques (LeCun et al. 1998)."""

from __future__ import annotations

from edgecls.models._blocks import TORCH, activate, average_pool, keras
from edgecls.models._naming import own_names
from edgecls.registry import variant
from edgecls.spec import Family, Preprocess, Tier

FAMILY = Family(
    name="lenet5",
    title="LeNet-5",
    year=1998,
    paper="LeCun et al., Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 1998",
    tier=Tier.LIGHT,
    idea="Small windows with shared weights, halved twice: features that do not care where the stroke is.",
)


@variant(
    "lenet5",
    source="paper",
    reference="figure 2, C3 connected to all of S2, plain means in S2 and S4",
    family=FAMILY,
    source_name=own_names,
    params=61_706,
    macs=416_520,
    # Section III.A: background -0.1 and ink 1.175, here with ink white as in MNIST's files.
    preprocess=Preprocess(resize=32, crop=32, mean=(20.0,), std=(200.0,), color="gray"),
    min_input_size=32,
    classes=10,
)
def lenet5(image, *, classes):
    """Figure 2 as it is built today: tanh throughout, and logits in the place of the RBF units."""
    x = conv(image, 6, name="c1")
    x = average_pool(x, 2, stride=2, name="s2")
    x = conv(x, 16, name="c3")
    x = average_pool(x, 2, stride=2, name="s4")
    x = conv(x, 120, name="c5")
    x = keras.layers.Flatten(name="flatten")(x)
    x = activate(keras.layers.Dense(84, name="f6")(x), "tanh", name="f6")
    return keras.layers.Dense(classes, name="classifier")(x)


def conv(x, filters, *, name):
    return activate(TORCH.conv(x, filters, 5, bias=True, padding="valid", name=name), "tanh", name=name)
