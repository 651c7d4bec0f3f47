"""scripts/edgecls and scripts/test set .venv up once, and say in one line why they cannot."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

#: All that the scripts, and the fakes below, call besides Python.
TOOLS = ("sh", "cat", "cksum", "grep", "head", "readlink", "rm", "cp", "mkdir", "sleep")

#: What /bin/sh is on one system or another.
SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]

#: A Python whose `-m venv`, `-m pip` and `-m pytest` do as the test says; its `-c` is a real one's.
PYTHON = """#!/bin/sh
for last; do :; done
case $* in
"-I -m venv "*) echo venv >>"{calls}"; mkdir -p "$last/bin"; cp "$0" "$last/bin/python" ;;
"-I -m pip "*)
    echo "$*" >>"{calls}"
    {pip}
    cp "{command}" "${{0%/*}}/edgecls"
    echo progress ;;
"-m pytest "*) printf '%s\\n' "$@" ;;
"-I -c "*) exec "{real}" -I -c "import sys; {prelude}; exec(sys.argv[1])" "$3" ;;
esac
"""


class Checkout:
    """A copy of the scripts in a folder with a space in its name, and a PATH of its own."""

    def __init__(self, folder: Path, shell: str):
        self.root, self.bin, self.shell = folder / "a checkout", folder / "bin", shell
        self.calls, self.venv = folder / "calls", self.root / ".venv"
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.root)
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self._write(folder / "edgecls", "#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
        self.python()

    def python(self, name="python3", prelude="pass", pip=":"):
        text = PYTHON.format(
            calls=self.calls,
            command=self.calls.parent / "edgecls",
            real=sys.executable,
            prelude=prelude,
            pip=pip,
        )
        self._write(self.bin / name, text)

    @staticmethod
    def _write(path, text):
        path.write_text(text)
        path.chmod(0o755)

    def start(self, *arguments, script="scripts/edgecls", **environment):
        return subprocess.Popen(
            [shutil.which(self.shell), self.root / script, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={"PATH": str(self.bin), "LC_ALL": "C"} | environment,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments, **options):
        process = self.start(*arguments, **options)
        stdout, stderr = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def installs(self):
        """What pip was asked for so far, one string per call."""
        calls = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [call for call in calls if call != "venv"]

    def wait_for_pip(self):
        deadline = time.monotonic() + 30
        while not self.installs():
            assert time.monotonic() < deadline, "pip was never called"
            time.sleep(0.02)


@pytest.fixture(params=SHELLS)
def checkout(request, tmp_path):
    return Checkout(tmp_path, request.param)


def one_line(stderr):
    assert stderr.startswith("edgecls: ") and stderr.count("\n") == 1 and stderr.endswith("\n"), stderr
    return stderr


def pins(text):
    """name -> version of the lines `name==version`."""
    found = re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def test_first_use_installs_and_the_next_does_not(checkout):
    first = checkout.run("show", "two words", "*", "")
    assert (first.returncode, first.stdout) == (0, "show\ntwo words\n*\n\n")
    assert "progress" in first.stderr
    setuptools, edgecls = checkout.installs()
    assert re.search(r"setuptools==[\d.]+$", setuptools)
    assert edgecls.endswith(f"--editable {checkout.root}[test]")
    for call in (setuptools, edgecls):
        assert f"--constraint {checkout.root}/constraints.txt" in call
    second = checkout.run("list")
    assert (second.returncode, second.stdout, second.stderr) == (0, "list\n", "")
    assert len(checkout.installs()) == 2


def test_exit_code_is_the_commands(checkout):
    checkout.run()
    (checkout.venv / "bin" / "edgecls").write_text("#!/bin/sh\nexit 3\n")
    assert checkout.run().returncode == 3


def test_runs_through_a_symlink(checkout, tmp_path):
    link = tmp_path / "elsewhere"
    link.symlink_to(checkout.root / "scripts" / "edgecls")
    assert checkout.run("list", script=link).stdout == "list\n"
    assert checkout.venv.exists()


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_requirement_installs_again_in_place(checkout, name):
    checkout.run()
    with open(checkout.root / name, "a") as file:
        file.write("# changed\n")
    assert checkout.run("list").stdout == "list\n"
    assert checkout.calls.read_text().splitlines().count("venv") == 1
    assert len(checkout.installs()) == 4


def test_a_moved_checkout_installs_again(checkout, tmp_path):
    checkout.run()
    checkout.root = checkout.root.rename(tmp_path / "moved")
    assert checkout.run("list").stdout == "list\n"
    assert checkout.installs()[-1].endswith(f"--editable {checkout.root}[test]")


@pytest.mark.parametrize(
    ("prelude", "expected"),
    [
        ("sys.version_info = (3, 10, 13)", "python3 is 3.10"),
        ("sys.version_info = (3, 14, 0)", "python3 is 3.14"),
        ("sys.version_info = (3, 12, 1); sys.modules['ensurepip'] = None", "apt install python3.12-venv"),
        ("sys.version_info = (3, 12, 1); sys.modules['venv'] = None", "apt install python3.12-venv"),
    ],
)
def test_an_unfit_python_is_one_line(checkout, prelude, expected):
    checkout.python(prelude=prelude)
    result = checkout.run("list")
    assert (result.returncode, result.stdout) == (1, "")
    assert expected in one_line(result.stderr)
    assert not checkout.venv.exists()


def test_no_python_at_all_is_one_line(checkout):
    (checkout.bin / "python3").unlink()
    result = checkout.run()
    assert result.returncode == 1
    assert "no Python 3.11 to 3.13" in one_line(result.stderr)


def test_a_later_python_is_taken_where_the_first_is_unfit(checkout):
    checkout.python("python3.13", prelude="sys.exit(127)")
    checkout.python("python3.12", prelude="sys.modules['ensurepip'] = None")
    assert checkout.run("list").stdout == "list\n"


def test_a_named_python_is_the_only_one_asked(checkout):
    checkout.python("mine", prelude="sys.version_info = (3, 9, 0)")
    result = checkout.run("list", EDGECLS_PYTHON="mine")
    assert result.returncode == 1
    assert "mine is 3.9" in one_line(result.stderr)
    checkout.python("mine")
    checkout.python("python3", prelude="sys.exit(1)")
    assert checkout.run("list", EDGECLS_PYTHON="mine").stdout == "list\n"


@pytest.mark.parametrize(
    ("complaint", "expected"),
    [
        ("ERROR: OSError: [Errno 28] No space left on device", "disk is full"),
        ("WARNING: Retrying after connection broken by NewConnectionError", "check the network"),
        ("WARNING: old\\nERROR: No matching distribution\\nhint: see", "No matching distribution"),
        ("Killed", "-m pip install"),
    ],
)
def test_a_failed_installation_is_one_line_and_is_done_anew(checkout, complaint, expected):
    checkout.python(pip=f"printf '{complaint}\\n' >&2; exit 2")
    result = checkout.run("list")
    assert (result.returncode, result.stdout) == (1, "")
    announcement, failure = result.stderr.splitlines()
    assert announcement.startswith("edgecls: setting up")
    assert expected in failure and failure.endswith(f"(details in {checkout.root}/.venv.log)")
    assert (checkout.root / ".venv.log").read_text().splitlines()[-1] in complaint

    checkout.python()
    assert checkout.run("list").stdout == "list\n"
    assert checkout.calls.read_text().splitlines().count("venv") == 2


def test_a_folder_that_cannot_be_written_is_one_line(checkout):
    (checkout.root / ".venv.log").mkdir()  # refuses root too, whom permissions do not stop
    result = checkout.run("list")
    assert (result.returncode, result.stdout) == (1, "")
    assert f"cannot write in {checkout.root}" in one_line(result.stderr)


def test_an_interrupted_installation_is_done_anew(checkout):
    checkout.python(pip="sleep 60")
    process = checkout.start("list")
    checkout.wait_for_pip()
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (130, "")
    assert stderr.splitlines()[-1] == "edgecls: interrupted; the next start sets up anew"

    checkout.python()
    assert checkout.run("list").stdout == "list\n"
    assert checkout.calls.read_text().splitlines().count("venv") == 2


def test_two_at_once_install_once(checkout):
    checkout.python(pip="sleep 0.3")
    first = checkout.start("first")
    checkout.wait_for_pip()
    second = checkout.start("second")
    assert first.communicate(timeout=60)[0] == "first\n"
    stdout, stderr = second.communicate(timeout=60)
    assert (stdout, stderr) == ("second\n", "edgecls: waiting for another set-up to finish\n")
    assert len(checkout.installs()) == 2


def test_a_killed_installation_locks_nobody_out(checkout):
    checkout.python(pip="sleep 60")
    process = checkout.start("list")
    checkout.wait_for_pip()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    checkout.python()
    result = checkout.run("list")
    assert result.stdout == "list\n"
    assert "waiting" not in result.stderr


def test_tests_leave_the_slow_ones_out_unless_all_are_asked_for(checkout):
    assert checkout.run("-x", script="scripts/test").stdout == "-m\npytest\n-m\nnot slow\n-x\n"
    assert checkout.run("--all", "-x", script="scripts/test").stdout == "-m\npytest\n-x\n"


def test_every_requirement_has_a_tested_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    lines += project["project"]["optional-dependencies"]["test"]
    tested = pins((ROOT / "constraints.txt").read_text())
    for requirement in map(Requirement, lines):
        assert tested[requirement.name] in requirement.specifier


@pytest.mark.slow
def test_a_fresh_clone_sets_itself_up(tmp_path):
    clone = tmp_path / "a clone"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    try:
        launcher = clone / "scripts" / "edgecls"
        result = subprocess.run([launcher, "--help"], cwd="/", capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith("Usage: edgecls")
        assert "Successfully installed" in result.stderr
        pip = [clone / ".venv" / "bin" / "python", "-I", "-m", "pip"]
        subprocess.run([*pip, "check"], check=True, stdout=subprocess.DEVNULL)
        frozen = subprocess.run([*pip, "freeze", "--all"], check=True, capture_output=True, text=True).stdout
        installed = pins(frozen)
        del installed["pip"]
        assert installed.items() <= pins((clone / "constraints.txt").read_text()).items()
    finally:
        shutil.rmtree(clone)  # 2 GB
