"""Intervals and tests against published figures; which output stands for which class."""

import math

import numpy as np
import pytest

from edgecls import evaluation
from edgecls.dataset import Dataset, imagenet_wnids
from edgecls.errors import UsageError
from edgecls.evaluation import Share
from edgecls.evaluation.statistics import mcnemar, paired_interval, wilson

WNIDS = imagenet_wnids()


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [  # R. G. Newcombe, Statistics in Medicine 17 (1998) 857, Table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_intervals_are_those_that_newcombe_published(right, count, low, high):
    assert wilson(right, count) == pytest.approx((low, high), abs=5e-5)
    assert wilson(count - right, count) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_an_interval_never_leaves_the_shares_there_are():
    assert wilson(0, 1)[0] >= 0 and wilson(1, 1)[1] <= 1


@pytest.mark.parametrize(
    ("lost", "won", "p"),
    [
        (1, 7, 2 * (1 + 8) / 2**8),  # Fagerland, Lydersen and Laake, BMC Med. Res. Meth. 13 (2013) 91: 0.0703
        (6, 0, 2 / 2**6),
        (0, 0, 1.0),
        (3, 3, 1.0),
        (4, 5, 1.0),
        (10, 2, 2 * (1 + 12 + 66) / 2**12),
    ],
)
def test_mcnemar_by_hand(lost, won, p):
    assert mcnemar(lost, won) == mcnemar(won, lost) == pytest.approx(p)


def test_mcnemar_of_many():
    exact = 2 * sum(math.comb(236, k) for k in range(87)) / 2**236
    assert mcnemar(150, 86) == pytest.approx(exact, rel=1e-9)
    z = 399 / math.sqrt(40400)  # with correction for continuity
    assert mcnemar(20000, 20400) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.01)


def test_the_interval_of_a_difference_by_hand():
    # 86 and 150 of 1600, approval of a prime minister (Agresti, Categorical Data Analysis, 10.1)
    assert paired_interval(150, 86, 1600) == pytest.approx((-0.06, -0.02), abs=0.0015)
    gain, total, changed = (86 - 150) / 1602, 1602, 237
    half = 1.959964 * math.sqrt(changed / total - gain**2) / math.sqrt(total)
    assert paired_interval(150, 86, 1600) == pytest.approx((gain - half, gain + half), rel=1e-6)
    low, high = paired_interval(0, 0, 100)
    assert low == -high < 0  # a hundred pictures do not show that nothing changed


def right(*flags):
    return np.array(flags, bool)


def compared(lost, won, same=100):
    theirs = right(*[True] * lost, *[False] * won, *[True] * same)
    ours = right(*[False] * lost, *[True] * won, *[True] * same)
    return evaluation.difference("net.onnx", theirs, ours)


def test_a_small_difference_is_noise_in_words():
    found = compared(3, 2, same=295)
    assert (found.lost, found.won, found.difference) == (3, 2, pytest.approx(-1 / 300))
    assert (
        str(found) == "-0.3 points against net.onnx: within noise, p = 1 (3 lost, 2 won; 95 %: -1.9 to +1.3)"
    )


@pytest.mark.parametrize(
    ("lost", "won", "word"), [(20, 3, "worse"), (3, 20, "better"), (12, 9, "within noise")]
)
def test_a_difference_is_called_what_it_is(lost, won, word):
    assert f"points against net.onnx: {word}, p = " in str(compared(lost, won))


def test_pictures_that_both_get_right_or_wrong_count_for_nothing_but_the_share():
    assert compared(5, 1, same=10).p == compared(5, 1, same=1000).p
    assert compared(5, 1, same=10).difference == pytest.approx(-4 / 16)


def test_the_worst_class_is_the_one_that_is_surely_bad():
    targets = np.array([0] * 50 + [1] + [2] * 50)
    first = np.array([0] * 10 + [2] * 30 + [1] * 10 + [2] + [2] * 50)
    worst, one, good = evaluation.by_class(targets, first, ["rose", "oak", "ash"])
    assert (worst.name, worst.top1.right, worst.top1.count) == ("rose", 10, 50)
    assert list(worst.taken_for.items()) == [("ash", 30), ("oak", 10)]
    assert (one.name, one.top1.share, one.taken_for) == ("oak", 0.0, {"ash": 1})  # one picture says little
    assert (good.name, good.top1, good.taken_for) == ("ash", Share.of(50, 50), {})


def data(labels, classes=None):
    return Dataset(source="data", paths=(), labels=tuple(labels), classes=classes and tuple(classes))


def found(labels, classes, outputs, names=None):
    targets, assumed = evaluation.targets(data(labels, classes), outputs, names)
    return targets.tolist(), assumed


def test_outputs_with_names_are_found_by_name():
    assert found([0, 1, 1], ["ash", "oak"], 3, ["oak", "rose", "ash"]) == ([2, 0, 0], None)


def test_classes_without_pictures_need_not_be_known():
    assert found([1], ["weed", "oak"], 2, ["oak", "ash"]) == ([0], None)


def test_a_class_that_the_model_has_not_is_named():
    with pytest.raises(UsageError, match="data has classes that the model has not: weed; it has oak, ash$"):
        found([0, 1], ["weed", "oak"], 2, ["oak", "ash"])


def test_an_output_must_be_known_by_its_name_alone():
    with pytest.raises(UsageError, match="several outputs of the model are called crane"):
        found([0], ["crane"], 3, ["crane", "oak", "crane"])


def test_imagenet_is_in_the_order_of_outputs_with_or_without_background():
    assert found([281, 0], WNIDS, 1000) == ([281, 0], None)
    targets, assumed = found([281, 0], WNIDS, 1001)
    assert targets == [282, 1] and "the first of 1001 outputs is the background" in assumed


def test_imagenet_goes_with_outputs_that_have_other_names_for_the_same_classes():
    assert found([281], WNIDS, 1000, [f"class {number}" for number in range(1000)]) == ([281], None)
    assert found([0, 2], WNIDS, 3, [WNIDS[2], WNIDS[0], WNIDS[1]]) == ([1, 0], None)
    with pytest.raises(UsageError, match="classes that the model has not: n02123045; it has oak, ash"):
        found([281], WNIDS, 2, ["oak", "ash"])


def test_numbers_are_outputs_and_of_a_thousand_classes_those_behind_the_background():
    assert found([3, 0], None, 4) == ([3, 0], None)
    targets, assumed = found([281, 999], None, 1001)
    assert targets == [282, 1000] and "the first output is the background" in assumed
    assert found([281, 1000], None, 1001) == ([281, 1000], None)
    with pytest.raises(UsageError, match="data has class 4, the model 4, numbered from 0"):
        found([4], None, 4)


def test_folders_of_numbers_are_outputs():
    assert found([0, 1], ["1", "7"], 10) == ([1, 7], None)


def test_as_many_classes_as_outputs_are_taken_in_order_and_this_is_said():
    targets, assumed = found([1, 0], ["ash", "oak"], 2)
    assert targets == [1, 0] and "alphabetical order" in assumed
    with pytest.raises(
        UsageError, match="data has 2 classes, the model 3 outputs without names; name them with --labels"
    ):
        found([1, 0], ["ash", "oak"], 3)
