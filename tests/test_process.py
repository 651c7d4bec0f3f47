"""Child processes: what they answer, what they print, and how they end."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from edgecls import errors, process

TESTS = Path(__file__).parent
MB = 1_000_000


@pytest.fixture(autouse=True)
def children_can_be_imported(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)


def is_gone(pid: int) -> bool:
    """Whether the process ends within 5 seconds; one that only its parent has not noticed has ended."""
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_the_result_and_the_events_are_the_childs():
    job = {"text": "Käfer", "nothing": None, "numbers": [1, 2.5]}
    events = []
    outcome = process.run("children:answer", job, on_event=events.append)
    assert outcome.result == job
    assert events == [{"stage": "count", "done": step} for step in range(3)]
    assert outcome.log == ""
    assert 0 < outcome.seconds < 30


def test_what_is_printed_on_either_stream_is_the_log_and_not_the_answer(capfd):
    outcome = process.run("children:chatter", {})
    assert outcome.result == "answered"
    assert sorted(outcome.log.splitlines()) == ["complained\N{REPLACEMENT CHARACTER}", "from a grandchild", "printed", "written"]
    assert capfd.readouterr() == ("", "")


def test_verbose_lets_it_through_on_standard_error(capfd):
    outcome = process.run("children:chatter", {}, verbose=True)
    printed, complained = capfd.readouterr()
    assert (outcome.result, outcome.log, printed) == ("answered", "", "")
    assert {"printed", "written", "from a grandchild"} < set(complained.splitlines())


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("UsageError", ["--classes must be at least 1, got 0"], "--classes must be at least 1, got 0"),
        ("UnknownName", ["precision", "int9", ["int8"]], "unknown precision 'int9'; did you mean int8?"),
        ("BadFile", ["no file 'x'"], "no file 'x'"),
        ("WeightsMismatch", ["conv/kernel is missing"], "conv/kernel is missing"),
        ("WorkFailed", ["not finite"], "not finite"),
        ("UncountableOp", ["FOO"], "FOO"),
    ],
)
def test_our_errors_arrive_as_they_were_raised(kind, arguments, message):
    with pytest.raises(errors.EdgeclsError) as caught:
        process.run("children:fail", {"kind": kind, "arguments": arguments})
    assert type(caught.value) is getattr(errors, kind)
    assert str(caught.value) == message


def test_other_errors_are_one_line_and_the_rest_is_in_the_log():
    with pytest.raises(errors.ChildFailed) as caught:
        process.run("children:fail", {"kind": "ValueError", "arguments": ["first\nsecond"]})
    assert str(caught.value) == "children.fail failed: ValueError: first"
    assert caught.value.log.startswith("on the way\nTraceback (most recent call last):")
    assert caught.value.log.endswith("ValueError: first\nsecond\n")


def test_an_error_without_a_message_has_its_type_for_one():
    with pytest.raises(errors.ChildFailed, match=r"^children.fail failed: MemoryError: MemoryError$"):
        process.run("children:fail", {"kind": "MemoryError", "arguments": []})


def test_a_module_that_is_not_there_is_an_error():
    with pytest.raises(errors.ChildFailed, match="failed: ModuleNotFoundError: No module named 'nowhere'"):
        process.run("nowhere:work", {})


@pytest.mark.parametrize(
    ("kind", "arguments", "reason"),
    [
        ("OSError", [errno.ENOSPC, os.strerror(errno.ENOSPC), "x"], "[Errno 28] No space left on device: 'x'"),
        ("RuntimeError", ["I/O error: No space left on device"], "I/O error: No space left on device"),
        ("OSError", ["4096 requested and 100 written"], "4096 requested and 100 written"),
    ],
)
def test_a_full_disk_is_said_in_one_line(kind, arguments, reason):
    with pytest.raises(errors.WorkFailed) as caught:
        process.run("children:fail", {"kind": kind, "arguments": arguments})
    assert type(caught.value) is errors.WorkFailed
    assert str(caught.value) == f"children.fail cannot write: {reason}; make room on the disk"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, "children.kill_itself died with signal 9; the system may have run out of memory"),
        (signal.SIGSEGV, "children.kill_itself died with signal 11"),
    ],
)
def test_a_child_that_is_killed_is_an_error(number, said):
    with pytest.raises(errors.ChildFailed) as caught:
        process.run("children:kill_itself", {"signal": int(number)})
    assert str(caught.value) == said


def test_a_child_that_leaves_without_an_answer_is_an_error():
    with pytest.raises(errors.ChildFailed, match=r"^children.leave died with exit code 3$"):
        process.run("children:leave", {"code": 3})


def test_ctrl_c_is_the_parents_to_handle():
    outcome = process.run("children:kill_itself", {"signal": int(signal.SIGINT)})
    assert outcome.result == "survived"


def test_peak_memory_is_the_childs():
    least = process.run("children:hold", {"size": 1}).peak_memory
    most = process.run("children:hold", {"size": 200 * MB}).peak_memory
    assert least < 100 * MB
    assert 190 * MB < most - least < 220 * MB


def test_a_child_that_passes_its_memory_cap_is_stopped():
    with pytest.raises(errors.ChildFailed) as caught:
        process.run("children:hold", {"size": 300 * MB}, memory_cap=200 * MB)
    assert str(caught.value) == "children.hold passed its memory cap of 0.2 GB and was stopped"


def test_a_child_under_its_memory_cap_is_not():
    assert process.run("children:hold", {"size": 100 * MB}, memory_cap=200 * MB).result == 100 * MB


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_stop_ends_a_child(when):
    stop, pids = threading.Event(), []
    if when == "before":
        stop.set()

    def note(pid):
        pids.append(pid)
        stop.set()

    start = time.monotonic()
    with pytest.raises(errors.ChildFailed, match=r"^children.wait was stopped$"):
        process.run("children:wait", {}, stop=stop, on_event=note)
    assert time.monotonic() - start < 10
    assert all(map(is_gone, pids))


def test_a_child_ends_when_its_parent_is_interrupted():
    pids = []

    def interrupt(pid):
        pids.append(pid)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.run("children:wait", {}, on_event=interrupt)
    assert is_gone(*pids)


def test_a_child_leaves_when_its_parent_is_killed():
    code = "from edgecls import process; process.run('children:wait', {}, on_event=lambda pid: print(pid, flush=True))"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.kill()
    parent.communicate()
    assert is_gone(pid)


def test_modules_in_the_users_folder_do_not_stand_in_for_real_ones(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    monkeypatch.chdir(tmp_path)
    assert process.run("children:answer", {"a": 1}).result == {"a": 1}
