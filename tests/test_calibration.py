"""Which pictures are chosen, what their digest covers, and what is written of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecls import images, synthetic
from edgecls.errors import BadFile, UnknownName, UsageError
from edgecls.exporters import calibration
from edgecls.exporters.calibration import HELD, METHODS, SAMPLES, SYNTHETIC_SAMPLES, check_shape, plan
from edgecls.exporters.picture_checks import FEW
from edgecls.spec import PREPROCESS, Preprocess

PREPARE = PREPROCESS["tf"].at(8)
REAL = Path(__file__).parents[2] / "shared" / "real" / "calibration"


def photographs(folder, count, *, size=(12, 9)):
    """A folder of pictures, each of one colour of its own."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        Image.new("RGB", size, (number, 100, 200)).save(folder / f"{number:03}.png")
    return folder


def shows_nothing(count):
    """What is said of as many such pictures."""
    return [
        f"{count} of {count} calibration pictures show nothing: one colour from edge to edge",
        f"of {count} calibration pictures 1 differ, the others nearly repeat them; take other scenes",
    ]


def array_file(path, value):
    np.savez(path, value) if path.suffix == ".npz" else np.save(path, value)
    return path


def pixels(count, shape=(8, 8, 3)):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


def materialised(chosen, folder, size=8, channels=3):
    """(calibration pictures, held-out pictures as inputs, what `materialise` says), by way of JSON."""
    files = [str(folder / name) for name in ("calibration.npy", "held.npy")]
    said = calibration.materialise(json.loads(json.dumps(chosen.to_json())), size, channels, *files)
    taken, held = (np.load(file) for file in files)
    assert taken.dtype == np.float32
    assert (taken.shape[1:], held.shape[1:]) == ((1, size, size, channels), (size, size, channels))
    said = json.loads(json.dumps(said))
    preprocess = said["held"].pop("preprocess")
    return taken[:, 0], images.inputs(held, preprocess and Preprocess.from_json(preprocess)), said


def spread(values):
    figures = {"min": values.min(), "max": values.max(), "mean": values.mean(), "std": values.std()}
    return pytest.approx({name: float(figure) for name, figure in figures.items()}, abs=1e-4)


# Synthetic


def test_synthetic_pictures_are_preprocessed_and_others_held_out(tmp_path):
    chosen = plan(preprocess=PREPARE, seed=5)
    taken, held, said = materialised(chosen, tmp_path)
    series = images.normalise(synthetic.pictures(SYNTHETIC_SAMPLES + HELD, 8, seed=5), PREPARE)
    np.testing.assert_array_equal(taken, series[:SYNTHETIC_SAMPLES])
    np.testing.assert_array_equal(held, series[SYNTHETIC_SAMPLES:])
    assert said == {
        "info": {
            "source": "synthetic",
            "count": SYNTHETIC_SAMPLES,
            "digest": chosen.digest,
            "method": "min-max",
            "pixels": spread(synthetic.pictures(SYNTHETIC_SAMPLES, 8, seed=5)),
            "inputs": spread(taken),
            "seed": 5,
            "skipped": [],
        },
        "held": {"words": f"{HELD} pictures of synthetic that calibration did not see"},
        "warnings": [],
    }


def test_a_synthetic_digest_says_how_many_and_of_which_seed():
    digests = {
        plan(preprocess=PREPARE, samples=samples, seed=seed).digest
        for samples, seed in [(None, 0), (SYNTHETIC_SAMPLES, 0), (16, 0), (16, 1)]
    }
    assert len(digests) == 3


def test_synthetic_pictures_for_an_unknown_input_say_their_scale(tmp_path):
    taken, _, said = materialised(plan(preprocess=None), tmp_path, channels=1)
    assert -1 <= taken.min() < -0.5 and 0.5 < taken.max() <= 1
    [warning] = said["warnings"]
    assert warning == "synthetic pictures were scaled to -1..1; --preprocess says what the model takes"


# Folders


def test_of_a_folder_every_picture_is_taken_when_it_is_small(tmp_path):
    folder = photographs(tmp_path / "photographs", 20)
    taken, held, said = materialised(plan(folder, preprocess=PREPARE), tmp_path)
    colours = [(number, 100, 200) for number in range(20)]
    expected = images.normalise(np.array(colours, np.uint8), PREPARE)
    np.testing.assert_allclose(taken, np.broadcast_to(expected[:, None, None], taken.shape))
    np.testing.assert_array_equal(held, taken)
    assert (said["info"]["count"], said["info"]["skipped"]) == (20, [])
    assert said["warnings"] == shows_nothing(20)
    assert said["held"]["words"] == f"20 of the calibration pictures: {folder} has too few to hold any out"


def test_of_a_large_folder_a_sample_is_taken_and_others_held_out(tmp_path):
    folder = photographs(tmp_path / "photographs", SAMPLES + HELD)
    chosen = plan(folder, preprocess=PREPARE)
    assert (len(chosen.chosen), len(chosen.held)) == (SAMPLES, HELD)
    assert not set(chosen.chosen) & set(chosen.held)
    _, held, said = materialised(chosen, tmp_path)
    assert said["held"]["words"] == f"{HELD} pictures of {folder} that calibration did not see"
    reds = np.rint(held[:, 0, 0, 0] * 127.5 + 127.5).astype(int)
    assert [Path(path).stem for path in chosen.held] == [f"{red:03}" for red in reds]


def test_too_few_others_are_not_held_out(tmp_path):
    folder = photographs(tmp_path / "photographs", 16 + HELD - 1)
    assert plan(folder, preprocess=PREPARE, samples=16).held == ()
    assert len(plan(folder, preprocess=PREPARE, samples=15).held) == HELD


def test_the_seed_draws_the_sample_and_nothing_else(tmp_path):
    folder = photographs(tmp_path / "photographs", 30)

    def chosen(samples, seed):
        found = plan(folder, preprocess=PREPARE, samples=samples, seed=seed)
        return found.chosen, found.digest

    assert chosen(10, 0) == chosen(10, 0)
    assert chosen(10, 0) != chosen(10, 1)
    assert chosen(30, 0) == chosen(30, 1)


def test_a_digest_changes_with_the_content_of_a_picture(tmp_path):
    folder = photographs(tmp_path / "photographs", 3)
    before = plan(folder, preprocess=PREPARE).digest
    (folder / "001.png").touch()
    assert plan(folder, preprocess=PREPARE).digest == before
    Image.new("RGB", (12, 9), "red").save(folder / "001.png")
    assert plan(folder, preprocess=PREPARE).digest != before


def test_planning_decodes_nothing(tmp_path, monkeypatch):
    folder = photographs(tmp_path / "photographs", 3)
    monkeypatch.setattr(Image, "open", None)
    assert len(plan(folder, preprocess=PREPARE).chosen) == 3


def test_unreadable_pictures_are_named_and_left_out(tmp_path):
    folder = photographs(tmp_path / "photographs", 20)
    (folder / "003.png").write_bytes(b"not a picture")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    taken, _, said = materialised(plan(folder, preprocess=PREPARE), tmp_path)
    skipped = [str(folder / "003.png"), str(folder / "gone.png")]
    assert len(taken) == said["info"]["count"] == 19
    assert said["info"]["skipped"] == skipped
    assert said["warnings"] == [f"{name} cannot be read and is left out" for name in skipped] + shows_nothing(19)


def test_few_pictures_are_a_warning(tmp_path):
    folder = photographs(tmp_path / "photographs", FEW)
    assert materialised(plan(folder, preprocess=PREPARE), tmp_path)[2]["warnings"] == shows_nothing(FEW)
    (folder / "000.png").unlink()
    few, *others = materialised(plan(folder, preprocess=PREPARE), tmp_path)[2]["warnings"]
    assert few.startswith(f"only {FEW - 1} calibration pictures") and others == shows_nothing(FEW - 1)


def test_no_readable_picture_is_an_error(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    with pytest.raises(UsageError, match="no picture in .*photographs.*; it should hold files of .bmp"):
        plan(folder, preprocess=PREPARE)
    (folder / "a.jpg").write_bytes(b"not a picture")
    with pytest.raises(BadFile, match="none of the 1 pictures of .*photographs can be read"):
        materialised(plan(folder, preprocess=PREPARE), tmp_path)


# Lists


def test_of_a_list_the_pictures_named_are_taken(tmp_path):
    folder = photographs(tmp_path / "photographs", 20)
    listed = tmp_path / "some.txt"
    listed.write_text("".join(f"photographs/{number:03}.png\n" for number in range(1, 20)) + "gone.png\n")
    chosen = plan(listed, preprocess=PREPARE)
    assert chosen.chosen == tuple(str(folder / f"{number:03}.png") for number in range(1, 20))
    _, _, said = materialised(chosen, tmp_path)
    assert (said["info"]["source"], said["info"]["count"]) == (str(listed), 19)
    [skipped] = said["info"]["skipped"]
    assert "gone.png" in skipped and said["warnings"][0] == f"{skipped}, and is left out"


def test_a_list_of_nothing_is_refused(tmp_path):
    (tmp_path / "some.txt").write_text("")
    with pytest.raises(BadFile, match="is empty"):
        plan(tmp_path / "some.txt", preprocess=PREPARE)


# Arrays


@pytest.mark.parametrize("name", ["pictures.npy", "pictures.npz"])
def test_an_array_of_pixels_is_preprocessed(tmp_path, name):
    given = pixels(20)
    taken, held, said = materialised(plan(array_file(tmp_path / name, given), preprocess=PREPARE), tmp_path)
    np.testing.assert_array_equal(taken, images.normalise(given, PREPARE))
    np.testing.assert_array_equal(held, taken)
    assert (said["info"]["count"], said["warnings"]) == (20, [])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("preprocess", [None, PREPARE])
def test_an_array_of_floats_is_taken_as_it_is(tmp_path, dtype, preprocess):
    given = np.random.default_rng(0).uniform(-1, 1, (20, 8, 8, 3)).astype(dtype)
    path = array_file(tmp_path / "a.npy", given)
    taken, _, said = materialised(plan(path, preprocess=preprocess), tmp_path)
    np.testing.assert_array_equal(taken, given.astype(np.float32))
    assert said["warnings"] == []


def test_of_a_large_array_a_sample_is_taken_and_others_held_out(tmp_path):
    given = pixels(SAMPLES + HELD)
    chosen = plan(array_file(tmp_path / "a.npy", given), preprocess=PREPARE)
    taken, held, _ = materialised(chosen, tmp_path)
    np.testing.assert_array_equal(taken, images.normalise(given[list(chosen.chosen)], PREPARE))
    np.testing.assert_array_equal(held, images.normalise(given[list(chosen.held)], PREPARE))
    assert sorted(chosen.chosen + chosen.held) == list(range(SAMPLES + HELD))


def test_an_arrays_digest_covers_its_content_and_the_rows_taken(tmp_path):
    path = array_file(tmp_path / "a.npy", pixels(20))
    whole = plan(path, preprocess=PREPARE).digest
    assert plan(path, preprocess=PREPARE, samples=10).digest != whole
    array_file(path, pixels(20) ^ 1)
    assert plan(path, preprocess=PREPARE).digest != whole


def test_floats_in_another_scale_are_refused(tmp_path):
    path = array_file(tmp_path / "a.npy", pixels(20).astype(np.float32))
    with pytest.raises(UsageError, match=r"span 0\.\.255, the model's input -1\.\.1; give pixels as uint8"):
        materialised(plan(path, preprocess=PREPARE), tmp_path)


@pytest.mark.parametrize(
    ("low", "high", "warning"),
    [(-1.1, 1, "span -1.1..1, the model's input -1..1; float"), (0, 1, "span 0..1, the model's input -1..1: norm")],
)
def test_floats_that_do_not_fit_the_models_range_are_a_warning(tmp_path, low, high, warning):
    given = np.random.default_rng(0).uniform(low, high, (20, 8, 8, 3))
    given[0, 0, 0], given[1, 0, 0] = low, high
    [said] = materialised(plan(array_file(tmp_path / "a.npy", given), preprocess=PREPARE), tmp_path)[2]["warnings"]
    assert warning in said


def test_an_array_of_another_shape_names_both(tmp_path):
    chosen = plan(array_file(tmp_path / "a.npy", pixels(20, (3, 8, 8))), preprocess=PREPARE)
    with pytest.raises(UsageError, match=r"pictures of \(3, 8, 8\), the model takes \(8, 8, 3\)"):
        check_shape(chosen, 8, 3)
    with pytest.raises(UsageError, match=r"pictures of \(3, 8, 8\), the model takes \(8, 8, 3\)"):
        materialised(chosen, tmp_path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((4, 8, 8, 3), np.int64), r"int64 \(4, 8, 8, 3\), expected uint8 pixels or floats"),
        (np.zeros((8, 8, 3), np.uint8), r"uint8 \(8, 8, 3\), expected"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"uint8 \(0, 8, 8, 3\), expected"),
        (np.float32(1), r"float32 \(\), expected"),
    ],
)
def test_an_array_that_holds_no_pictures_is_refused(tmp_path, value, message):
    with pytest.raises(UsageError, match=message):
        plan(array_file(tmp_path / "a.npy", value), preprocess=PREPARE)


def test_values_that_are_not_finite_are_refused(tmp_path):
    given = np.zeros((20, 8, 8, 3), np.float32)
    given[7, 1, 2, 0] = np.nan
    with pytest.raises(UsageError, match="not finite"):
        materialised(plan(array_file(tmp_path / "a.npy", given), preprocess=None), tmp_path)


def test_pickled_objects_are_not_loaded(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"code": "runs"}], dtype=object), allow_pickle=True)
    with pytest.raises(BadFile, match="a.npy cannot be read as an array of pictures"):
        plan(path, preprocess=PREPARE)


def test_an_archive_of_several_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=pixels(4), y=np.zeros(4))
    with pytest.raises(BadFile, match="it holds 2 arrays, expected one"):
        plan(tmp_path / "a.npz", preprocess=PREPARE)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_truncated_arrays_are_refused(tmp_path, name):
    path = array_file(tmp_path / name, pixels(20))
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(BadFile, match=f"{name} cannot be read as an array of pictures"):
        plan(path, preprocess=PREPARE)


# What does not fit


@pytest.mark.parametrize("source", ["gone", "gone.npy", __file__])
def test_what_is_neither_folder_nor_array_is_refused(source):
    with pytest.raises(BadFile, match="no pictures .*; give a folder of pictures, a list of them"):
        plan(source, preprocess=PREPARE)


def test_pictures_for_a_model_of_unknown_preprocessing_are_refused(tmp_path):
    for source in (photographs(tmp_path / "photographs", 2), array_file(tmp_path / "a.npy", pixels(2))):
        with pytest.raises(UsageError, match="say --preprocess tf, torch, caffe, unit, none, like:NAME, or mean="):
            plan(source, preprocess=None)


def test_the_method_is_carried_into_the_record(tmp_path):
    for method in METHODS:
        chosen = plan(preprocess=PREPARE, samples=2, method=method)
        assert materialised(chosen, tmp_path)[2]["info"]["method"] == method
    with pytest.raises(UnknownName, match="unknown calibration method 'minmax'; did you mean min-max?"):
        plan(preprocess=PREPARE, method="minmax")


def test_samples_below_one_are_refused():
    with pytest.raises(UsageError, match="--samples must be at least 1, got 0"):
        plan(preprocess=PREPARE, samples=0)


def test_channels_that_pictures_cannot_have_are_refused():
    with pytest.raises(UsageError, match="makes 3 channels, the model takes 1"):
        check_shape(plan(preprocess=PREPARE), 8, 1)
    with pytest.raises(UsageError, match="no synthetic picture has 4 channels"):
        check_shape(plan(preprocess=None), 8, 4)
    gray = Preprocess(resize=8, crop=8, mean=(0,), std=(255,), color="gray")
    check_shape(plan(preprocess=gray), 8, 1)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the folder of real photographs beside the checkout")
def test_photographs_are_calibrated_with(tmp_path):
    chosen = plan(REAL, preprocess=PREPROCESS["tf"], samples=40)
    taken, held, said = materialised(chosen, tmp_path, size=224)
    assert (len(taken), len(held)) == (40, HELD)
    assert (said["info"]["count"], said["info"]["skipped"], said["warnings"]) == (40, [], [])
    np.testing.assert_array_equal(taken[0], images.load(chosen.chosen[0], PREPROCESS["tf"]))
