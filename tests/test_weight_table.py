"""The table of published weights says what its sources say; written by scripts/weight_table."""

import dataclasses
import json
import re
from pathlib import Path

import keras
import pytest

from edgecls import registry
from edgecls.spec import WeightSource

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"
TABLE = json.loads((Path(registry.__file__).parent / "models" / "_weights.json").read_text())
PUBLISHED = [(row, weights) for row in registry.rows() for weights in row.weights]

#: Rows whose size is the paper's, where the source's weights were trained for another.
OTHER_SIZE = {
    "efficientnet_b2.torchvision": (288, 260),
    "efficientnet_lite3.timm": (300, 280),
    "efficientnet_lite4.timm": (380, 300),
}

#: torchvision's nets that take ImageNet's mean and deviation and map that to -1..1 themselves.
TRANSFORM_INPUT = {"googlenet", "inception_v3"}


@pytest.fixture(scope="module")
def sources():
    """source -> architecture -> tag -> facts."""
    return json.loads(reference("weight_sources.json"))


@pytest.fixture(scope="module")
def accuracies():
    """(weights, size or None) -> the entries of that name."""
    found: dict = {}
    for row in json.loads(reference("models.json"))["rows"]:
        for entry in row["accuracy"]:
            found.setdefault((entry["weights"], entry.get("crop")), []).append(entry)
    return found


def reference(name):
    if not (REFERENCE / name).is_file():
        pytest.skip(f"no {name} beside the checkout, in ../shared/reference")
    return (REFERENCE / name).read_text()


def of(*sources):
    cases = [(row, weights) for row, weights in PUBLISHED if row.source in sources]
    return pytest.mark.parametrize(
        ("row", "weights"), cases, ids=[f"{row.key}-{weights.tag}" for row, weights in cases]
    )


def check_accuracy(weights: WeightSource, entry) -> None:
    assert (weights.top1, weights.top5) == pytest.approx((entry["top1"], entry["top5"]), abs=1e-9)


def check_preprocess(weights: WeightSource, *, size, mean, std, interpolation):
    preprocess = weights.preprocess
    assert preprocess.crop == size
    assert preprocess.mean == pytest.approx([255 * value for value in mean])
    assert preprocess.std == pytest.approx([255 * value for value in std])
    assert preprocess.interpolation == interpolation.lower().removeprefix("interpolationmode.")


@of("torchvision")
def test_torchvision_weights_are_the_references(row, weights, sources, accuracies):
    name = row.reference.rpartition(".")[2]
    facts = sources["torchvision"][name][weights.tag]
    assert weights.url == facts["url"]
    assert weights.preprocess.resize == facts["resize"]
    normal = {"mean": [0.5] * 3, "std": [0.5] * 3} if name in TRANSFORM_INPUT else facts
    check_preprocess(
        weights,
        size=facts["crop"],
        mean=normal["mean"],
        std=normal["std"],
        interpolation=facts["interpolation"],
    )
    check_accuracy(weights, facts)
    (entry,) = accuracies[f"torchvision {name} {weights.tag}", facts["crop"]]
    check_accuracy(weights, entry)


@of("timm", "timm_torch", "timm_resnet")
def test_timm_weights_are_the_references(row, weights, sources, accuracies):
    name = re.search(r"\w+$", row.reference)[0]
    size = weights.preprocess.crop
    (entry,) = accuracies[f"timm {name}.{weights.tag}", size]
    check_accuracy(weights, entry)
    facts = sources["timm"].get(name, {}).get(f"{name}.{weights.tag}")
    if facts is None:  # the reference has the accuracy alone
        assert f"/{name}.{weights.tag}/" in weights.url
        return
    hub = facts["hf_hub_id"]
    place = f"huggingface.co/{hub}" if hub else "github.com/rwightman"
    assert weights.url.startswith(f"https://{place}/")
    assert weights.url.endswith(facts["file"] if hub else ".pth")
    assert weights.licence == facts["license"]
    assert size in [sizes[1] for sizes in (facts["input_size"], facts["test_input_size"]) if sizes]
    if size == facts["input_size"][1]:
        assert weights.preprocess.resize == int(size / facts["crop_pct"])
    fields = ("mean", "std", "interpolation")
    check_preprocess(weights, size=size, **{field: facts[field] for field in fields})


@of("keras")
def test_keras_weights_are_those_that_keras_downloads(row, weights, accuracies):
    folder = Path(keras.__file__).parent / "src" / "applications"
    texts = [re.sub(r'"\n +"', "", path.read_text()) for path in folder.glob("*.py")]
    base = weights.url.rpartition("/")[0]
    assert any(base in text for text in texts)
    if weights.digest:
        assert any(base in text and weights.digest.removeprefix("md5:") in text for text in texts)
    function = row.reference.removeprefix("keras.applications.").replace("(alpha=1.0)", "_1.0")
    for entry in accuracies.get((f"keras.applications {function}", None), []):
        check_accuracy(weights, entry)


@of("pytorchcv")
def test_pytorchcv_weights_are_the_references(row, weights, accuracies):
    error = 100 - (weights.top1 if row.classes == 10 else weights.top5)
    assert f"-{round(100 * error):04}-{weights.digest.removeprefix('sha1:')[:8]}.pth.zip" in weights.url
    if row.classes == 10:  # of CIFAR-10, where the reference has no accuracy
        return
    theirs = [found for (name, _), found in accuracies.items() if name.startswith("pytorchcv ")]
    (entry,) = [
        entry
        for found in theirs
        for entry in found
        if entry["params"] == row.params and entry["top1"] == weights.top1
    ]
    check_accuracy(weights, entry)


def test_all_weights_of_the_reference_that_fit_are_in_the_table(sources):
    for row in registry.rows():
        name = re.search(r"\w*$", row.reference)[0]
        source = "timm" if row.source.startswith("timm") else row.source
        known = sources.get(source, {}).get(name, {})
        fitting = {
            tag.removeprefix(f"{name}.")
            for tag, facts in known.items()
            if facts.get("num_classes", 1000) == row.classes and facts.get("top1", 0) == facts.get("top1", 0)
        }
        assert fitting <= {weights.tag for weights in row.weights}, row.key


@pytest.mark.parametrize("row", [row for row in registry.rows() if row.weights], ids=lambda row: row.key)
def test_default_weights_take_the_rows_pictures(row):
    assert len({weights.tag for weights in row.weights}) == len(row.weights)
    theirs = row.weights[0].preprocess
    if row.key in OTHER_SIZE:
        assert (theirs.crop, row.preprocess.crop) == OTHER_SIZE[row.key]
        assert (theirs.mean, theirs.std) == (row.preprocess.mean, row.preprocess.std)
    else:
        assert theirs == row.preprocess


def test_digests_of_torch_files_are_those_in_their_names():
    told = [weights for _, weights in PUBLISHED if (weights.digest or "").startswith("sha256:")]
    assert told
    for weights in told:
        assert weights.url.endswith(f"-{weights.digest.removeprefix('sha256:')}.pth")


def test_every_key_of_the_table_is_a_row():
    assert set(TABLE) <= {row.key for row in registry.rows()}


def test_a_wrong_accuracy_is_noticed(sources):
    facts = sources["torchvision"]["resnet50"]["IMAGENET1K_V1"]
    weights = registry.get("resnet50.torchvision").weights[0]
    check_accuracy(weights, facts)
    with pytest.raises(AssertionError):
        check_accuracy(dataclasses.replace(weights, top5=weights.top5 + 0.01), facts)


def test_a_wrong_preprocessing_is_noticed(sources):
    facts = {**sources["torchvision"]["resnet50"]["IMAGENET1K_V1"], "size": 224}
    expected = {field: facts[field] for field in ("size", "mean", "std", "interpolation")}
    weights = registry.get("resnet50.torchvision").weights[0]
    check_preprocess(weights, **expected)
    for wrong in ({"interpolation": "bicubic"}, {"mean": [0.5] * 3}, {"std": [0.5] * 3}, {"size": 256}):
        with pytest.raises(AssertionError):
            check_preprocess(weights, **expected | wrong)
