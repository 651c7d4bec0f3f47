"""Exports that are interrupted or killed leave nothing half done, and nobody behind."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time

import command
import psutil
import pytest

#: A run that is interrupted is that of something that takes seconds.
ARGUMENTS = "export", "lenet5", "--int8", "--force"
#: Seconds; much more than it takes, for a machine that is busy.
PATIENCE = 300


def until(condition, patience=PATIENCE):
    """The first value of `condition()` that is true."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come to that")


@pytest.fixture
def start():
    """Starts the export as the leader of a process group, as a shell does; kills what is left in the end."""
    started = []

    def start(folder, **options):
        line = command.line(*ARGUMENTS, "--out", folder)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(line, start_new_session=True, **pipes | options))
        return started[-1]

    yield start
    for run in started:
        try:
            os.killpg(run.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        run.communicate()


def in_the_midst(folder) -> bool:
    """Whether something has been written that is not in place."""
    return any(path.name == "skeleton.onnx" for path in folder.rglob("*"))


def alive(group: int) -> list[psutil.Process]:
    """Processes of the group that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass
    return found


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "edgecls: interrupted\n"), (signal.SIGTERM, 143, "")]
)
def test_a_signal_to_the_group_ends_it_and_leaves_what_was_there(exported, start, number, code, said):
    before = command.files(exported)
    run = start(exported)
    until(lambda: in_the_midst(exported))
    assert len(alive(run.pid)) >= 2  # the command and its children
    os.killpg(run.pid, number)
    printed, complained = run.communicate(timeout=PATIENCE)
    assert (run.returncode, printed, complained) == (code, "", said)
    assert command.files(exported) == before
    assert alive(run.pid) == []


def test_a_signal_to_the_command_alone_ends_its_children_too(exported, start):
    before = command.files(exported)
    run = start(exported)
    until(lambda: in_the_midst(exported))
    run.send_signal(signal.SIGINT)
    assert run.wait(PATIENCE) == 130
    assert alive(run.pid) == []
    assert command.files(exported) == before


def test_what_was_new_is_gone(tmp_path, start):
    run = start(tmp_path / "new" / "folder")
    until(lambda: in_the_midst(tmp_path))
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(PATIENCE) == 130
    assert list(tmp_path.iterdir()) == []


def test_children_leave_a_killed_command_and_the_next_one_cleans_up(exported, start):
    before = command.files(exported)
    run = start(exported)
    until(lambda: in_the_midst(exported))
    run.kill()
    run.wait()
    until(lambda: alive(run.pid) == [])
    (left,) = (path for path in exported.joinpath("lenet5").iterdir() if path.is_dir())
    assert {name: content for name, content in command.files(exported).items() if left.name not in name} == before
    (exported / "lenet5" / "lenet5-fp16.onnx").unlink()
    assert command.edgecls("export", "lenet5", "--fp16", "--format", "onnx", "--out", exported).returncode == 0
    assert set(command.files(exported)) == set(before)


def test_ctrl_c_on_a_terminal(exported, start):
    """On a terminal there is progress, with the names of the stages; Ctrl-C ends it with one word."""
    before = command.files(exported)
    ours, theirs = pty.openpty()

    terminal = {name: theirs for name in ("stdin", "stdout", "stderr")}
    run = start(
        exported,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # it is the terminal of the new session
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
        **terminal,
    )
    os.close(theirs)
    shown = bytearray()

    def read():
        while select.select([ours], [], [], 0)[0]:
            try:
                shown.extend(os.read(ours, 4096))
            except OSError:  # the other end is closed
                return True
        return False

    until(lambda: read() or in_the_midst(exported))
    os.write(ours, b"\x03")
    until(read)
    assert run.wait(PATIENCE) == 130
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert text.count("interrupted") == 1
    for stage in ("load TensorFlow", "build"):
        assert f"lenet5 tflite {stage} " in text
    assert command.files(exported) == before
    assert alive(run.pid) == []
    os.close(ours)
