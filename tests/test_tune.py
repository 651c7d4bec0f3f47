"""The search, on made-up figures; and a net that int8 ruins, cured, as verb and as command."""

import json
from types import SimpleNamespace

import command
import hard
import numpy as np
import pytest

import edgecls
from edgecls import artifact, profiling, tuning
from edgecls.errors import UsageError
from edgecls.exporters import calibration
from edgecls.profiling import Settings
from edgecls.tuning import Choice, Limit, Trial
from edgecls.verbs import tune as verb

METHODS = ("min-max", "mse")
SETS = [("a", "b"), ("c",), ("d",), ("e", "c"), ("f",)]


def trial(choice=None, decibels=10.0, ms=1.0, drop=0.0):
    return Trial(choice=choice, sqnr_db=decibels, top1=1 - drop, drop=drop, ms=ms, bytes=1)


REFUSED = Trial(choice=None, sqnr_db=None, top1=None, drop=None, ms=None, bytes=None, error="refused")


def searched(decibels, *, sets=SETS, kinds=("float",), limit=Limit(min_sqnr=20)):
    """Choices in the order in which they were tried. decibels: of a choice."""
    tried = []

    def run(choice):
        tried.append(choice)
        return trial(choice, decibels(choice))

    tuning.search(METHODS, kinds, lambda: sets, limit, run)
    return tried


def test_nothing_else_is_tried_where_int8_does():
    assert searched(lambda choice: 20.0) == [Choice(method="min-max")]


def test_other_methods_and_scales_come_first():
    tried = searched(lambda choice: 20.0 if choice.method == "mse" else 5.0)
    assert tried == [Choice(method="min-max"), Choice(method="mse"), Choice(method="min-max", per_tensor=True)]


@pytest.mark.parametrize("needed", [1, 2, 3, 4, 5])
def test_the_fewest_sets_from_the_worst_on_are_found(needed):
    wanted = [{name for one in SETS[:count] for name in one} for count in range(6)]
    tried = searched(lambda choice: 30.0 if set(choice.layers) >= wanted[needed] else 5.0)
    passed = [set(choice.layers) for choice in tried if set(choice.layers) >= wanted[needed]]
    assert wanted[needed] in passed and min(passed, key=len) == wanted[needed]
    assert len(tried) < 20 and all(choice.method == "min-max" for choice in tried[3:])


def test_sets_that_are_not_needed_are_dropped():
    tried = searched(lambda choice: 30.0 if {"c", "f"} <= set(choice.layers) else 5.0)
    passed = [set(choice.layers) for choice in tried if {"c", "f"} <= set(choice.layers)]
    assert {"c", "f"} in passed


def test_layers_are_kept_with_the_best_method():
    tried = searched(lambda choice: 30.0 if "a" in choice.layers else 12.0 if choice.method == "mse" else 5.0)
    assert tried[3] == Choice(method="mse", layers=("a", "b"))


def test_each_kind_is_tried_and_all_that_fails_ends():
    tried = searched(lambda choice: 5.0, kinds=("float", "int16"))
    everything = {name for one in SETS for name in one}
    assert {choice.kind for choice in tried if set(choice.layers) == everything} == {"float", "int16"}
    assert searched(lambda choice: 5.0, sets=[])[3:] == []


def test_the_front_has_what_no_other_beats():
    a, b, c = trial(ms=1, decibels=10), trial(ms=2, decibels=30), trial(ms=3, decibels=None)
    beaten = [trial(ms=2.5, decibels=20), trial(ms=2, decibels=29), REFUSED]
    assert tuning.front([c, *beaten, b, a]) == [a, b, c]


def test_the_fastest_within_the_limit_is_chosen():
    slow, fast = trial(ms=2, decibels=30, drop=0.01), trial(ms=1, decibels=19.9, drop=0.02)
    assert tuning.fastest([slow, fast, REFUSED], Limit(min_sqnr=20)) == slow
    assert tuning.fastest([slow, fast, REFUSED], Limit(min_sqnr=19)) == fast
    assert tuning.fastest([slow, fast, REFUSED], Limit(max_drop=0.01)) == slow
    assert tuning.fastest([slow, fast, REFUSED], Limit(max_drop=0.005)) is None
    assert tuning.fastest([slow, fast], Limit(min_sqnr=30, max_drop=0.005)) is None


def profiled(path, subject, settings, *, run):
    """As if float took 10 ms and int8 one, and one more for each layer in float."""
    manifest = artifact.load(path).manifest
    ms = 10.0 if manifest.precision == "fp32" else 1.0 + len(manifest.options.get("layers", ()))
    return SimpleNamespace(error=None, timing=SimpleNamespace(samples_ms=(ms, 2 * ms)))


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A folder with a float net that int8 ruins, in both formats, and pictures."""
    folder = tmp_path_factory.mktemp("net")
    for format in ("tflite", "onnx"):
        hard.write(folder / f"hard.{format}", 400)
    np.save(folder / "pictures.npy", hard.pictures(60)[:, 0])
    return folder


@pytest.fixture
def tune(inline, net, tmp_path, monkeypatch):
    """Tune the net of a format; files go to a folder of the test. Nothing is timed."""
    monkeypatch.setattr(profiling, "profile_file", profiled)
    monkeypatch.setattr(calibration, "METHODS", ("min-max", "entropy"))

    def run(format, **options):
        given = {"calibration": net / "pictures.npy", "out": tmp_path / "out", "min_sqnr": 43}
        (found,) = edgecls.tune(net / f"hard.{format}", **given | options)
        return found

    return run


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_the_layers_that_inspect_blames_are_kept_in_float(tune, format):
    found = tune(format, io="float32")
    assert [one.words for one in found.trials[:2]] == ["float", "int8, min-max"] and found.trials[1].decibels < 10
    assert found.chosen.choice.layers == ("linear", "relu") and found.chosen.choice.kind == "float"
    assert found.chosen in found.front and found.trials[0] in found.front and found.chosen.ms == 3.0
    manifest = artifact.load(found.file).manifest
    assert manifest.options["layers"] == {"linear": "float", "relu": "float"}
    assert manifest.agreement.sqnr_db == pytest.approx(found.chosen.sqnr_db) and manifest.agreement.sqnr_db >= 43
    assert found.file.endswith(f"hard-tuned.{format}")


def test_equalisation_is_enough_for_less(tune):
    found = tune("onnx", min_sqnr=30)
    assert found.chosen.choice == Choice(method="min-max", per_tensor=True)
    assert not any(one.choice.layers for one in found.trials[1:])


def test_a_choice_becomes_an_artifact_that_verify_and_inspect_take(tune):
    found = tune("onnx")
    (verified,) = edgecls.verify(found.file)
    assert verified.agreement.sqnr_db == pytest.approx(found.chosen.sqnr_db, abs=0.01)
    layers = {one.layer: one for one in edgecls.inspect(found.file).layers}
    assert layers["linear"].dtype == "float32" and layers["relu"].arises_db > 30
    assert "hard-tuned.onnx keeps 2 layers in float" in artifact.load(found.file).manifest.notes


def test_asked_again_nothing_is_tried_again(tune, monkeypatch, tmp_path):
    first = tune("onnx")
    for work in ("_measure", "_make"):
        monkeypatch.setattr(verb._Bench, work, lambda *_: pytest.fail("it was known"))
    again = tune("onnx")
    assert again.trials == first.trials and again.file == first.file and (first.known, again.known) == (0, len(first.trials))
    with pytest.raises(pytest.fail.Exception, match="it was known"):
        tune("onnx", settings=Settings(runs=4))
    assert not list((tmp_path / "out" / "hard").glob(".tuning-*"))


def test_a_search_that_was_cut_off_goes_on(tune, monkeypatch, tmp_path):
    whole = tune("onnx")
    store = tmp_path / "out" / "hard" / "hard-trials.jsonl"
    lines = store.read_text().splitlines(keepends=True)
    store.write_text("".join(lines[:2]) + lines[2][:40])
    again = tune("onnx")
    assert again.known == 2 and [one.choice for one in again.trials] == [one.choice for one in whole.trials]


def test_int8_that_does_is_taken_as_it_is(tune):
    found = tune("onnx", min_sqnr=None, max_drop=0.99)
    assert [one.words for one in found.trials] == ["float", "int8, min-max"]
    assert found.file.endswith("hard-int8.onnx") and found.trials[1].drop == pytest.approx(1 - found.trials[1].top1)


def test_ends_that_have_to_be_integers_stay_so(tune):
    notes = []
    found = tune("tflite", on_note=notes.append)
    assert not any("linear" in one.choice.layers for one in found.trials[1:]) and found.chosen.choice is None
    assert any("the first and the last layer stay int8, as its ends are uint8; --io float32 lets" in one for one in notes)


def test_a_budget_that_nothing_keeps(tune):
    found = tune("onnx", budget_ms=1e-6)
    assert found.chosen is None and found.file is None and found.front


def test_what_is_refused(tune):
    with pytest.raises(UsageError, match="say what may be lost: --min-sqnr DB or --max-drop SHARE"):
        tune("onnx", min_sqnr=None)
    with pytest.raises(UsageError, match="--max-drop must be from 0% to 100%, got 150%"):
        tune("onnx", max_drop=1.5)
    with pytest.raises(UsageError, match="--budget-ms must be more than 0, got -1"):
        tune("onnx", budget_ms=-1)


@pytest.mark.slow
def test_the_command(net, tmp_path):
    options = ["--calibration", net / "pictures.npy", "--out", tmp_path, "--format", "onnx"]
    done = command.edgecls("tune", net / "hard.onnx", "--min-sqnr", "43", *options, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split()[:4] == ["format", "what", "SQNR", "dB"]
    assert "int8, entropy, 2 layers in float" in done.stdout and ">" in done.stdout
    assert (tmp_path / "hard" / "hard-trials.jsonl").is_file()
    tight = ["--max-drop", "5%", "--budget-ms", "0.000001", "--json"]
    done = command.edgecls("tune", net / "hard.onnx", *tight, *options, timeout=300)
    assert done.returncode == 1 and "nothing that was tried is good and fast enough" in done.stderr
    assert json.loads(done.stdout)[0]["chosen"] is None


def test_a_share_is_written_with_a_percent_sign(net):
    done = command.edgecls("tune", net / "hard.onnx", "--max-drop", "1")
    assert done.returncode == 2 and "--max-drop is a share of pictures such as 1%, got '1'" in done.stderr
