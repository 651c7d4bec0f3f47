"""The measures of agreement and the verdict on them, by hand; which tensors are cut off."""

import dataclasses

import numpy as np
import pytest
import tiny

from edgecls import runtimes, verification
from edgecls.artifact import CalibrationInfo, Spread, TensorInfo, Tolerance
from edgecls.errors import UncountableOp, WorkFailed
from edgecls.exporters.recipe import RECIPES
from edgecls.graph import cost, read
from edgecls.reference import Reference
from edgecls.verification.checking import gives_probabilities
from edgecls.verification.measures import best, cosine, divergence, softmax
from edgecls.verification.saturation import saturation

TOLERANCE = Tolerance(min_sqnr_db=8.0, ok_sqnr_db=15.0, ok_kl=0.05)
#: Ten pictures of seven classes; the best class is clear.
REFERENCE = np.random.default_rng(0).normal(size=(10, 7)).astype(np.float32)
REFERENCE[np.arange(10), np.arange(10) % 7] += 5


def array(*rows):
    return np.array(rows, np.float32)


def compare(logits, *, saturation=None, reference=REFERENCE, **options):
    return verification.agreement(
        reference, logits, pictures="", tolerance=TOLERANCE, saturation=saturation or {}, **options
    )


def noisy(decibels):
    """`REFERENCE` and noise of so much less power."""
    noise = np.random.default_rng(1).normal(size=REFERENCE.shape)
    power = np.square(REFERENCE).sum() / np.square(noise).sum() / 10 ** (decibels / 10)
    return (REFERENCE + noise * np.sqrt(power)).astype(np.float32)


def test_cosine_by_hand():
    assert cosine(array([3, 4], [1, 0]), array([6, 8], [0, 2])) == pytest.approx(0.5)
    assert cosine(array([1, 2]), array([-1, -2])) == pytest.approx(-1)
    assert cosine(array([1, 2]), array([0, 0])) == 0


def test_divergence_by_hand():
    # Softmax of (ln 3, 0) is (3/4, 1/4), of (0, 0) one half each.
    found = divergence(array([np.log(3), 0]), array([0, 0]))
    assert found == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5))
    assert divergence(array([1, 2], [3, 4]), array([101, 102], [5, 6])) == pytest.approx(0, abs=1e-12)
    assert divergence(array([0.75, 0.25]), array([0.5, 0.5]), probabilities=True) == pytest.approx(found)


def test_a_probability_that_int8_makes_zero_does_not_diverge_for_ever():
    found = divergence(array([0.999, 0.001]), array([1, 0]), probabilities=True)
    assert 0.001 < found < 0.01


def test_the_best_classes_come_first_and_of_equals_the_first():
    assert best(array([1, 3, 2], [5, 5, 5]), 2).tolist() == [[1, 2], [0, 1]]


def test_top5_is_the_share_of_the_five_best_that_are_found_again():
    reference = array(np.arange(10))  # 9, 8, 7, 6, 5 are best
    logits = reference.copy()
    logits[0, [5, 6, 0, 1]] = 0, 0, 20, 21
    found = compare(logits, reference=reference)
    assert (found.top1, found.top5) == (0.0, pytest.approx(3 / 5))


@pytest.mark.parametrize(
    ("decibels", "verdict", "reason"),
    [
        (7.9, "BROKEN", "7.9 dB, at least 8 dB wanted; the same best class on "),
        (8.1, "CAUTION", "8.1 dB, under 15 dB nets begin to lose accuracy; the same best class on "),
        (14.9, "CAUTION", "14.9 dB, under 15 dB"),
        (15.1, "OK", "the same best class on 100% of the pictures"),
    ],
)
def test_the_ratio_decides(decibels, verdict, reason):
    found = compare(noisy(decibels))
    assert (found.verdict, found.passed) == (verdict, verdict != "BROKEN")
    assert found.reason.startswith(reason)


def test_best_logits_cut_off_are_a_caution_that_the_ratio_does_not_see():
    reference = np.zeros((10, 1000), np.float32)
    reference[:, ::2], reference[:, 7] = 5, 16  # clear to the net, and a trifle of all the power
    clipped = np.minimum(reference, 12)
    found = compare(clipped, reference=reference)
    assert found.sqnr_db > 15 and found.top1 == 1
    assert found.verdict == "CAUTION" and "its probabilities diverge by" in found.reason


def test_a_tensor_that_is_cut_off_is_a_caution():
    assert compare(noisy(30), saturation={"a": 0.0099}).verdict == "OK"
    found = compare(noisy(30), saturation={"a": 0.001, "b": 0.0123})
    assert (found.verdict, found.reason[:55]) == (
        "CAUTION",
        "1.2% of the values of tensor b are beyond its range; th",
    )
    assert "1.2% of the values of tensor b" in compare(noisy(2), saturation={"b": 0.0123}).reason


def test_few_pictures_are_a_caution():
    assert compare(REFERENCE[:8].copy(), reference=REFERENCE[:8]).verdict == "OK"
    found = compare(REFERENCE[:7].copy(), reference=REFERENCE[:7])
    assert (found.verdict, found.reason[:50]) == (
        "CAUTION",
        "judged on 7 pictures, 8 at least say something; th",
    )


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_each_recipe_says_when_it_is_broken_before_it_says_when_it_is_ok(recipe):
    assert 0 < recipe.min_sqnr_db <= recipe.ok_sqnr_db and recipe.ok_kl > 0
    assert recipe.tolerance == Tolerance(
        min_sqnr_db=recipe.min_sqnr_db, ok_sqnr_db=recipe.ok_sqnr_db, ok_kl=recipe.ok_kl
    )


SPREAD = Spread(min=0.0, max=1.0, mean=0.5, std=0.3)


@pytest.mark.parametrize(
    ("precision", "source", "count", "cut", "step"),
    [
        ("int8", "synthetic", 32, {}, "calibrate on photographs: --calibration DIR"),
        ("int8", "photographs", 12, {}, "calibrate on 100 photographs, not 12: --calibration DIR"),
        (
            "int8",
            "photographs",
            100,
            {"a": 0.2},
            "calibrate on pictures like those that it will see: --calibration DIR",
        ),
        (
            "int8",
            "photographs",
            100,
            {},
            "`edgecls inspect` names the layers at fault, `edgecls tune` keeps those in float, fp16 all",
        ),
        ("dynamic", None, 0, {}, "try another recipe, fp16 first: `edgecls recipes` explains them"),
        ("fp16", None, 0, {}, "use the float32 file: this model's values do not fit float16"),
        ("fp32", None, 0, {}, "the conversion is at fault: use another format, and report this"),
    ],
)
def test_the_next_step_is_that_of_the_cause(precision, source, count, cut, step):
    info = source and CalibrationInfo(
        source=source, count=count, digest="0", method="min-max", pixels=None, inputs=SPREAD
    )
    found = compare(noisy(10), saturation=cut)
    assert verification.next_step(found, precision, info) == step
    assert verification.next_step(compare(noisy(30)), precision, info) is None


def test_the_next_step_of_one_scale_for_each_tensor():
    info = CalibrationInfo(
        source="photographs", count=100, digest="0", method="min-max", pixels=None, inputs=SPREAD
    )
    step = verification.next_step(compare(noisy(10)), "int8", info, per_tensor=True)
    assert step == "leave out --per-tensor where the target can do without, or use fp16; `edgecls inspect` names the layers at fault"


# Saturation


@pytest.fixture
def quantized(tmp_path):
    """Makes an int8 file of the tiny net whose ranges are those of inputs in -`reach`..`reach`."""

    def quantize(format, reach, io="float32"):
        from edgecls.exporters import adoption, onnx, tflite

        exporter = {"tflite": tflite, "onnx": onnx}[format]
        shape = (1, 1, 1, 3) if format == "tflite" else (1, 3, 1, 1)
        save, adopt = (
            (tiny.save_tflite, adoption.adopt_tflite)
            if format == "tflite"
            else (tiny.save_onnx, adoption.adopt_onnx)
        )
        source, target = tmp_path / f"float.{format}", tmp_path / f"int8.{format}"
        adopt(str(save(tmp_path / f"net.{format}", input_shape=shape)), str(source), None, emit=None)
        np.save(
            tmp_path / "pictures.npy",
            np.random.default_rng(0).uniform(-reach, reach, (16, *shape)).astype("f4"),
        )
        files = str(source), str(target), "int8", str(tmp_path / "pictures.npy")
        exporter.quantize(*files, (-1.0, 1.0), io, emit=lambda event: None)
        return source, target

    return quantize


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_logits_beyond_their_range_are_counted(quantized, format):
    source, target = quantized(format, 0.5)
    session = runtimes.open(target)
    inputs = np.random.default_rng(1).uniform(-1, 1, (200, *session.inputs[0].shape)).astype(np.float32)
    wanted = verification.logits(runtimes.open(source), inputs)
    found = verification.logits(session, inputs)
    low, high = found.min(), found.max()
    step = np.diff(np.unique(found)).min()
    share = ((wanted < low - step / 2) | (wanted > high + step / 2)).mean()
    assert share > 0.2
    ((name, told),) = saturation(read(target), inputs, wanted, {}, macs=6).items()
    assert "logits" in name and told == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_nothing_is_cut_off_by_ranges_that_fit(quantized, format):
    source, target = quantized(format, 1.0)
    inputs = (
        np.random.default_rng(1).uniform(-0.3, 0.3, (50, *runtimes.open(target).inputs[0].shape)).astype("f4")
    )
    assert (
        saturation(read(target), inputs, verification.logits(runtimes.open(source), inputs), {}, macs=6) == {}
    )


def test_inputs_beyond_their_range_are_counted(quantized):
    source, target = quantized("tflite", 3.0, "uint8")
    inputs = np.ones((10, 1, 1, 1, 3), np.float32)
    inputs[:3] = 2  # the range of the input is -1..1
    found = saturation(read(target), inputs, verification.logits(runtimes.open(source), inputs), {}, macs=6)
    assert found["image"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("zero_point", "scale", "share"),
    [
        (0, 0.1, 0.75),  # -12.8..12.7: both limits are cut off
        (-128, 0.1, 0.25),  # 0..25.5: half of the values are zeros of a ReLU
        (-128, 6 / 255, 0.0),  # and the others at the end of a ReLU6
        (-128, 1 / 256, 0.0),  # or of a sigmoid
    ],
)
def test_values_where_activations_end_by_nature_are_not_cut_off(zero_point, scale, share):
    from edgecls.verification.saturation import _at_limits

    info = TensorInfo(name="a", shape=(4,), dtype="int8", scale=scale, zero_point=zero_point)
    assert _at_limits(np.array([-128, -128, 127, 5], np.int8), info) == share


def test_a_float_file_has_no_ranges(tmp_path):
    path = tiny.save_tflite(tmp_path / "net.tflite", input_shape=(1, 1, 1, 3))
    inputs = np.full((2, 1, 1, 1, 3), 100, np.float32)
    assert saturation(read(path), inputs, np.zeros((2, 2), np.float32), {}, macs=6) == {}


# Softmax at the end


@pytest.fixture
def soft(tmp_path):
    """The tiny net, and the same with a softmax behind it."""
    plain = tiny.save_tflite(tmp_path / "plain.tflite", input_shape=(1, 1, 1, 3))
    return plain, tiny.save_tflite(tmp_path / "soft.tflite", input_shape=(1, 1, 1, 3), then="SOFTMAX")


def test_a_softmax_at_the_end_is_seen(soft):
    assert [gives_probabilities(read(path)) for path in soft] == [False, True]


@pytest.mark.parametrize("order", [1, -1])
def test_logits_become_probabilities_where_the_other_side_gives_them(soft, order):
    subject, other = soft[::order]
    pictures = np.random.default_rng(0).uniform(-3, 3, (9, 1, 1, 3)).astype(np.float32)
    job = {"path": "", "tolerance": dataclasses.asdict(TOLERANCE), "ends": {}, "preprocess": None}
    logits, probabilities = verification.answers(job | {"path": str(other)}, pictures, lambda *_: None)
    right = Reference(pictures=pictures, logits=logits, words="", model={})
    file = job | {"path": str(subject)}
    found = verification.compare(file, right, probabilities, lambda *_: None)
    assert found.sqnr_db is None or found.sqnr_db > 120
    assert verification.compare(file, right, None, lambda *_: None).verdict == "BROKEN"


def test_a_file_whose_cost_cannot_be_counted_is_compared_all_the_same(quantized, monkeypatch):
    source, target = quantized("tflite", 1.0)
    pictures = np.random.default_rng(0).uniform(-0.5, 0.5, (9, 1, 1, 3)).astype(np.float32)
    job = {"path": str(source), "tolerance": dataclasses.asdict(TOLERANCE), "ends": {}, "preprocess": None}
    logits, _ = verification.answers(job, pictures, lambda *_: None)
    right = Reference(pictures=pictures, logits=logits, words="", model={})

    def uncountable(graph):
        raise UncountableOp("an op of theirs")

    monkeypatch.setattr(cost, "cost", uncountable)
    found = verification.compare(job | {"path": str(target)}, right, None, lambda *_: None)
    assert found.verdict == "OK"
    with pytest.raises(WorkFailed, match="an op of theirs"):  # in what we made ourselves there is none
        verification.check([job], right)


def test_softmax_by_hand():
    assert softmax(array([np.log(3), 0])) == pytest.approx(array([0.75, 0.25]))
