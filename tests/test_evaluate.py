"""Accuracy of small nets on pictures of one colour each; what is kept, and what is refused."""

import json
import os
import signal
import subprocess

import command
import numpy as np
import pytest
import tiny
from PIL import Image
from test_interruption import alive, until

import edgecls
from edgecls import fetch, process
from edgecls.errors import BadFile, UsageError, WorkFailed

#: The tiny net's two outputs are -r - 0.6g - 0.2b and 0.2r + 0.6g + b, of colours in -1..1.
NAMES = "dark\nlight\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(fetch.CACHE, str(tmp_path / "cache"))


@pytest.fixture
def net(tmp_path):
    return tiny.save_tflite(tmp_path / "net.tflite", input_shape=(1, 1, 1, 3))


@pytest.fixture
def swapped(tmp_path, net):
    """The same net with its outputs in the other order."""
    weights = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    path = tmp_path / "swapped.tflite"
    path.write_bytes(net.read_bytes().replace(weights.tobytes(), weights[::-1].tobytes()))
    return path


@pytest.fixture
def labels(tmp_path):
    (tmp_path / "labels.txt").write_text(NAMES)
    return tmp_path / "labels.txt"


def colour(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, value, value)).save(path)


@pytest.fixture
def data(tmp_path):
    """Twenty dark and ten light pictures, one of these in the wrong folder."""
    for number in range(20):
        colour(tmp_path / "data" / "dark" / f"{number:02}.png", 5 * number)
    for number in range(10):
        colour(tmp_path / "data" / "light" / f"{number:02}.png", 255 - 5 * number)
    (tmp_path / "data" / "light" / "09.png").rename(tmp_path / "data" / "dark" / "wrong.png")
    return tmp_path / "data"


@pytest.fixture
def run(inline, data, labels):
    """Evaluates in this process, one job unless told otherwise."""

    def evaluate(*files, **options):
        options = {"data": data, "labels": labels, "preprocess": "tf", "jobs": 1} | options
        return edgecls.evaluate(files, **options)

    return evaluate


def test_right_and_wrong_are_counted(run, net, data):
    (found,) = run(net)
    assert (found.file, found.precision, found.data) == (str(net), "fp32", str(data))
    assert (found.top1.right, found.top1.count) == (29, 30)
    assert found.top5 is None and found.difference is None and found.assumed is None
    worst, good = found.classes
    assert (worst.name, worst.top1.right, worst.top1.count, worst.taken_for) == ("dark", 20, 21, {"light": 1})
    assert (good.name, good.top1.right, good.taken_for) == ("light", 9, {})


def test_top5_is_among_more_classes_than_five(run, tmp_path, data):
    net = tiny.save_tflite(tmp_path / "seven.tflite", input_shape=(1, 1, 1, 3), filters=7)
    (tmp_path / "seven.txt").write_text("dark\n1\n2\n3\n4\n5\nlight\n")
    (found,) = run(net, labels=tmp_path / "seven.txt")
    assert (found.top1.right, found.top5.right, found.top5.count) == (29, 29, 30)
    (tmp_path / "seven.txt").write_text("0\ndark\n2\n3\n4\nlight\n6\n")  # the second best
    (found,) = run(net, labels=tmp_path / "seven.txt")
    assert (found.top1.right, found.top5.right) == (0, 29)


def test_a_second_file_is_compared_with_the_first_on_the_same_pictures(run, net, swapped):
    first, second = run(net, swapped)
    assert first.difference is None
    found = second.difference
    assert (found.against, found.lost, found.won) == ("net.tflite", 29, 1)
    assert found.difference == pytest.approx(-28 / 30) and found.p < 1e-6


def test_names_decide_which_output_is_which_class(run, net, swapped, labels):
    labels.write_text("light\ndark\n")
    assert [one.top1.right for one in run(net, swapped)] == [1, 29]


def test_without_names_the_order_of_classes_is_taken_and_said(run, net):
    (found,) = run(net, labels=None)
    assert found.top1.right == 29 and "alphabetical order" in found.assumed


def test_a_flat_folder_and_the_classes_of_its_pictures(run, net, tmp_path):
    for name, value in (("b", 0), ("a", 255), ("c", 255)):
        colour(tmp_path / "flat" / f"{name}.png", value)
    (tmp_path / "classes.txt").write_text("light\ndark\ndark\n")
    (found,) = run(net, data=tmp_path / "flat", labels=tmp_path / "classes.txt")
    assert (found.top1.right, found.top1.count) == (2, 3)


def test_a_limit_takes_pictures_from_all_over(run, net):
    (found,) = run(net, limit=3)
    assert sorted((one.name, one.top1.count) for one in found.classes) == [("dark", 2), ("light", 1)]
    assert run(net, limit=1000)[0].top1.count == 30


def test_what_is_known_is_not_run_again(run, net, swapped, data, monkeypatch):
    notes = []
    first = run(net, on_note=notes.append)
    assert notes == []
    with monkeypatch.context() as patch:
        patch.setattr(process, "run", None)
        assert run(net, on_note=notes.append) == first
    assert notes[0].startswith("30 of 30 pictures are done already, and kept in ")

    jobs, original = [], process.run
    monkeypatch.setattr(
        process,
        "run",
        lambda function, job, **options: jobs.append(job) or original(function, job, **options),
    )
    colour(data / "dark" / "00.png", 255)  # another picture at the same place
    (found,) = run(net)
    assert found.top1.right == 28
    assert [path for _, path, _ in jobs[0]["pictures"]] == [str(data / "dark" / "00.png")]
    run(net, preprocess="unit")  # the same file sees something else
    assert len(jobs[1]["pictures"]) == 30
    run(net, swapped)
    assert [wanted for *_, wanted in jobs[2]["pictures"]] == [[1]] * 30


def test_an_interrupted_call_goes_on_where_it_was(run, net, data, monkeypatch):
    original, notes = process.run, []

    def interrupted(function, job, *, on_event, **options):
        original(function, job | {"pictures": job["pictures"][:12]}, on_event=on_event)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(process, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(net, on_note=notes.append)
    assert notes == ["12 of 30 pictures are done; the same call goes on from there"]
    (kept,) = fetch.cache_folder().rglob("*.jsonl")
    kept.write_bytes(kept.read_bytes()[:-5])  # killed amid a line
    seen = []
    (found,) = run(net, on_picture=lambda done, total: seen.append((done, total)), on_note=notes.append)
    assert notes[1].startswith("11 of 30 pictures are done already")
    assert seen[0] == (11, 30) and seen[-1] == (30, 30)
    assert (found.top1.right, found.top1.count) == (29, 30)
    assert run(net, on_note=notes.append) == [found]
    assert notes[2].startswith("30 of 30 pictures are done already")


def test_a_cache_that_cannot_be_written_is_said_once(run, net, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(fetch.CACHE, str(tmp_path / "file"))
    notes = []
    assert run(net, on_note=notes.append)[0].top1.right == 29
    (note,) = notes
    assert note.startswith(f"cannot write to {tmp_path / 'file'}") and note.endswith(
        "interrupted, the work begins anew"
    )


def test_pictures_that_cannot_be_read_are_named_and_left_out(run, net, data):
    (data / "dark" / "00.png").write_bytes(b"not a picture")
    (data / "dark" / "notes.txt").touch()
    notes = []
    (found,) = run(net, on_note=notes.append)
    assert (found.top1.right, found.top1.count) == (28, 29)
    assert notes[0] == "dark/notes.txt is no picture, and is left out"
    assert str(data / "dark" / "00.png") in notes[1] and notes[1].endswith("; it is left out")
    for path in data.rglob("*.png"):
        path.write_bytes(b"not a picture")
    with pytest.raises(WorkFailed, match="none of the 30 pictures of .* can be read"):
        run(net)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preprocess": None}, r"how do pictures become the input of net.tflite\? say --preprocess tf"),
        ({"preprocess": "like:lenet5"}, "the preprocessing makes 1 channels, net.tflite takes 3"),
        ({"labels": "gone.txt"}, "no labels 'gone.txt'"),
        ({"labels": "cifar10"}, "--labels names 10 classes, the model has 2"),
        ({"jobs": 0}, "--jobs must be at least 1, got 0"),
        ({"limit": 0}, "--limit must be at least 1, got 0"),
        ({"data": "nowhere"}, "no folder or list 'nowhere'"),
    ],
)
def test_what_was_asked_wrongly_is_said(run, net, options, message):
    with pytest.raises(UsageError, match=message):
        run(net, **options)


def test_data_of_other_classes_is_refused(run, net, labels, data):
    labels.write_text("dark\nbright\n")
    with pytest.raises(UsageError, match="has classes that the model has not: light; it has dark, bright$"):
        run(net)
    with pytest.raises(UsageError, match="nobody says what is on the pictures of .*; give class folders"):
        run(net, data=data / "dark", labels=None)


def test_no_file_and_what_is_none(run, tmp_path):
    with pytest.raises(UsageError, match="no file; name .tflite or .onnx files"):
        run()
    with pytest.raises(BadFile, match="no file 'gone.tflite'"):
        run("gone.tflite")
    with pytest.raises(UsageError, match="is a folder; name the files in it"):
        run(tmp_path)


def test_logits_that_are_not_finite_are_an_error(run, net, tmp_path):
    weights = np.linspace(-1, 1, 6, dtype=np.float32)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(net.read_bytes().replace(weights.tobytes(), np.full_like(weights, np.nan).tobytes()))
    with pytest.raises(WorkFailed, match=r"broken.tflite gives logits that are not finite for .*dark/00.png"):
        run(broken)


def test_an_artifact_says_itself_how_it_is_fed(run, exported, tmp_path):
    """LeNet-5 in int8, both formats: gray pictures of 32 pixels, ends of uint8 and of float."""
    for number in range(10):
        colour(tmp_path / "digits" / str(number) / "a.png", 20 * number)
    files = [exported / "lenet5" / f"lenet5-int8.{format}" for format in ("tflite", "onnx")]
    found = run(*files, data=tmp_path / "digits", labels=None, preprocess=None)
    assert [one.top1.count for one in found] == [10, 10]
    assert found[1].precision == "int8"


def test_processes_side_by_side_find_what_one_finds(net, swapped, data, labels, tmp_path, monkeypatch):
    """As a command, in two processes; and again as JSON."""
    many = tmp_path / "many.txt"
    many.write_text("".join(f"{path},{path.parent.name}\n" for path in sorted(data.rglob("*.png")) * 2))
    arguments = (
        "evaluate",
        net,
        swapped,
        "--data",
        many,
        "--labels",
        labels,
        "--preprocess",
        "tf",
        "--jobs",
        "2",
    )
    done = command.edgecls(*arguments)
    assert done.returncode == 0 and done.stderr == ""
    header, first, second, *lines = done.stdout.splitlines()
    assert header.split() == ["file", "pictures", "top-1", "95", "%", "top-5", "95", "%"]
    assert first.split() == [str(net), "60", "96.7", "88.6", "to", "99.1", "-", "-"]
    assert second.split()[:3] == [str(swapped), "60", "3.3"]
    assert lines[:2] == ["worst classes of net.tflite:", "  dark: 40 of 42 right, taken for 2 light"]
    assert lines[2].startswith("swapped.tflite: -93.3 points against net.tflite: worse, p = ")
    again = command.edgecls(*arguments, "--json")
    assert again.stderr.startswith("note: 60 of 60 pictures are done already")
    records = json.loads(again.stdout)
    assert [record["top1"]["right"] for record in records] == [58, 2]
    assert records[1]["difference"]["lost"] == 58


def test_control_c_ends_it_at_once_and_what_was_done_is_kept(net, labels, tmp_path):
    Image.new("RGB", (3000, 3000)).save(tmp_path / "large.png")
    (tmp_path / "list.txt").write_text("large.png dark\n" * 3000)  # minutes of decoding
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    line = command.line(
        "evaluate", net, "--data", tmp_path / "list.txt", "--labels", labels, "--preprocess", "tf"
    )
    run = subprocess.Popen(
        line, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        until(lambda: list(fetch.cache_folder().rglob("*.jsonl")))
        os.killpg(run.pid, signal.SIGINT)
        out, err = run.communicate(timeout=60)
        assert (run.returncode, out) == (130, "")
        note, last = err.splitlines()
        assert (
            "of 3000 pictures are done; the same call goes on from there" in note
            and last == "edgecls: interrupted"
        )
        assert alive(run.pid) == []
    finally:
        for left in alive(run.pid):
            left.kill()
        signal.signal(signal.SIGINT, before)
