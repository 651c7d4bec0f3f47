"""`edgecls --help` and `edgecls list` answer at once, because they load no framework."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from test_layering import FRAMEWORKS

COMMANDS = [
    *(["--help"], ["list"], ["list", "--json"], ["list", "--families"], ["weights", "list"]),
    *(["export", "--help"], ["profile", "--help"]),
]
EDGECLS = Path(sys.executable).parent / "edgecls"


def cpu_seconds(command: list) -> float:
    """User and system time of one run, which must succeed and answer on stdout."""
    before = os.times()
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    after = os.times()
    assert answer
    return after.children_user - before.children_user + after.children_system - before.children_system


def loaded(*arguments: str) -> set[str]:
    """Top-level names of all modules that `python ARGUMENTS` imports."""
    command = [sys.executable, "-X", "importtime", *arguments]
    trace = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in trace.splitlines() if "|" in line}


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_answers_in_half_a_second_of_cpu(arguments):
    assert min(cpu_seconds([EDGECLS, *arguments]) for _ in range(3)) < 0.5


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_loads_no_framework(arguments):
    modules = loaded("-m", "edgecls", *arguments)
    assert "typer" in modules  # the trace shows what was imported
    assert modules & FRAMEWORKS == set()


def test_the_package_itself_loads_no_framework():
    modules = loaded("-c", "import edgecls; dir(edgecls)")
    assert "edgecls" in modules
    assert modules & FRAMEWORKS == set()


def test_a_slow_command_is_seen():
    assert cpu_seconds([sys.executable, "-c", "import time\nwhile time.process_time() < 0.6: pass\nprint(0)"]) > 0.5


def test_a_framework_is_seen():
    assert loaded("-c", "def late():\n    import h5py\nlate()") & FRAMEWORKS == {"h5py"}
