"""Pictures that a small network tells apart after a few steps, in class folders; and such a network."""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from edgecls import registry
from edgecls.models._blocks import TF, classify
from edgecls.spec import PREPROCESS, ModelSpec

COLOURS = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (200, 50, 40)}


def pictures(folder: Path, *, counts=(10, 10, 10), gray=False, seed=0) -> Path:
    """`folder`/blue, green and red, with so many noisy pictures of 40x36 pixels each; all sorts of gray in place
    of the colours where `gray`."""
    rng = np.random.default_rng(seed)
    for (name, colour), count in zip(COLOURS.items(), counts, strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.array(colour) + rng.normal(0, 30, (36, 40, 3))
            if gray:
                pixels = np.full((36, 40), colour[0]) + rng.normal(0, 5, (36, 40))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number:03}.png")
    return folder


def small(image, *, classes):
    x = TF.conv_norm(image, 8, 3, stride=2, activation="relu6", name="stem")
    x = TF.conv_norm(x, 16, 3, stride=2, activation="relu6", name="body")
    return classify(x, classes)


#: A row "small.paper", not in the zoo: two convolutions with batch norms, 32x32 pixels.
SMALL: ModelSpec = dataclasses.replace(
    registry.get("mobilenet_v2"),
    name="small",
    source="paper",
    build=small,
    source_name=lambda name: name,
    params=1484,
    macs=129_088,
    input_size=32,
    min_input_size=8,
    preprocess=PREPROCESS["tf"].at(32),
    classes=4,
    options={},
    aliases=(),
    weights=(),
)
