"""What is said of calibration pictures."""

import numpy as np
import pytest
from PIL import Image

from edgecls import images, synthetic
from edgecls.errors import UsageError
from edgecls.exporters import picture_checks
from edgecls.spec import PREPROCESS

TF = PREPROCESS["tf"]


@pytest.fixture(scope="module")
def scenes():
    return images.normalise(synthetic.pictures(20, 64), TF)


def said(inputs, preprocess=TF):
    return list(picture_checks.warnings("set", inputs, preprocess))


def test_nothing_is_said_of_sound_pictures(scenes):
    assert said(scenes) == said(scenes, None) == []
    assert picture_checks.count_distinct(scenes) == 20


def test_few_pictures(scenes):
    [warning] = said(scenes[:15])
    assert warning == "only 15 calibration pictures; take 100, 16 at the least"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x * 1.03, "float arrays must be normalised already"),
        (lambda x: x / 2 + 0.5, "span 0..1, the model's input -1..1: normalised for another model"),
        (lambda x: x * 0.3 - 0.7, "all dark?"),
    ],
)
def test_values_of_another_range(scenes, change, words):
    [warning] = said(change(scenes))
    assert words in warning
    picture_checks.check_scale("set", change(scenes), TF)
    assert said(change(scenes), None) == []  # nobody said what is right


@pytest.mark.parametrize("change", [lambda x: x * 127.5 + 127.5, lambda x: x * 2.1, lambda x: x - 1.1])
def test_values_of_another_scale_are_refused(scenes, change):
    picture_checks.check_scale("set", scenes, TF)
    picture_checks.check_scale("set", change(scenes), None)
    with pytest.raises(UsageError, match="values of set span .*, the model's input -1..1; give pixels as uint8"):
        picture_checks.check_scale("set", change(scenes), TF)


def test_pictures_that_show_nothing(scenes):
    flat = np.ones_like(scenes[:3]) * np.array([0.5, -0.5, 0.1], np.float32)
    assert said(np.concatenate([scenes, flat])) == [
        "3 of 23 calibration pictures show nothing: one colour from edge to edge"
    ]


def again(inputs):
    """The same scenes: shifted a little, darker, saved as JPEG."""
    for number, picture in enumerate(inputs):
        pixels = np.rint(picture * 127.5 + 127.5).astype(np.uint8)
        image = Image.fromarray(pixels).crop((number % 2, 0, 63, 62)).resize((64, 64))
        yield images.normalise((np.asarray(image) * 0.9).astype(np.uint8), TF)


def test_near_repetitions_are_not_counted(scenes):
    twice = np.concatenate([scenes, list(again(scenes))])
    assert picture_checks.count_distinct(twice) == 20
    [warning] = said(twice)
    assert warning.startswith("of 40 calibration pictures 20 differ, the others nearly repeat them")
    few = np.concatenate([scenes, list(again(scenes[:4]))])
    assert picture_checks.count_distinct(few) == 20 and said(few) == []


def test_a_mirrored_scene_is_another():
    pictures = images.normalise(synthetic.pictures(10, 64), TF)
    assert picture_checks.count_distinct(np.concatenate([pictures, pictures[:, :, ::-1]])) == 20
