"""Rows without golden logits compute what torchvision, timm and pytorchcv compute, with a file that PyTorch saved.

Both compute in float64, where no depth of random layers makes rounding count.
"""

import keras
import numpy as np
import pytest

import goldens
import peers
import test_golden
from edgecls import builder, registry, weights

pytestmark = pytest.mark.slow

#: Largest difference allowed, in standard deviations of the library's logits; constants within layers are float32.
TOLERANCE = 1e-7

ROWS = [
    row
    for row in registry.rows()
    if row.reference.split(".")[0] in ("torchvision", "timm", "pytorchcv") and row.key not in test_golden.ROWS
]


@pytest.fixture(autouse=True)
def float64():
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx("float32")


def asked(row, folder):
    """(weights file, image, logits) of the model that `row.reference` names, with random weights."""
    images = goldens.image(row.input_size)
    np.save(folder / "images.npy", images)
    files = {"images": "images.npy", "weights": "weights.pth", "logits": "logits.npy"}
    job = {"model": row.reference} | {what: str(folder / name) for what, name in files.items()}
    (answer,) = peers.ask("torch", "torch_answers.py", [job])
    assert answer == {}
    return folder / "weights.pth", images[:1], np.load(folder / "logits.npy")


def difference(row, weights, image, expected):
    model = builder.build(row, weights=weights)
    return goldens.spread(np.asarray(model(image.astype(np.float64), training=False)), expected)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_row_equals_its_library(row, tmp_path):
    assert difference(row, *asked(row, tmp_path)) < TOLERANCE


def test_comparison_fails_on_one_wrong_tensor(tmp_path):
    row, name = registry.get("resnet20_cifar"), "features.stage2.unit2.body.conv1.conv.weight"
    path, image, expected = asked(row, tmp_path)
    tensors = weights.read(path)
    wrong = tensors | {name: tensors[name] * np.float32(1 + 1e-5)}
    assert difference(row, wrong, image, expected) > TOLERANCE
