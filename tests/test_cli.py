"""One place where errors become lines and exit codes."""

import errno
import sys

import pytest

from edgecls import cli, errors
from edgecls.verbs import export as verb


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `edgecls export lenet5` with an export that raises; returns the exit code and standard error."""

    def run(error, *arguments):
        def fail(*_, **__):
            raise error

        monkeypatch.setattr(verb, "export", fail)
        monkeypatch.setattr(sys, "argv", ["edgecls", "export", "lenet5", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        printed, complained = capsys.readouterr()
        assert printed == ""
        return caught.value.code, complained

    return run


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (errors.UsageError("--classes must be at least 1, got 0"), 2, "--classes must be at least 1, got 0"),
        (errors.UnknownName("format", "x", ["onnx"]), 2, "unknown format 'x'; valid are onnx"),
        (errors.BadFile("no file 'x'"), 2, "no file 'x'"),
        (errors.WeightsMismatch("conv/kernel is missing"), 2, "conv/kernel is missing"),
        (errors.WorkFailed("not finite"), 1, "not finite"),
        (errors.Disagreement("x.tflite"), 1, "x.tflite"),
        (errors.UncountableOp("FOO"), 1, "FOO"),
        (errors.ChildFailed("it died"), 1, "it died"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), 1, "a/b: No space left on device"),
        (OSError(errno.EIO, "Input/output error"), 1, "Input/output error"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_errors_are_one_line_and_an_exit_code(run, error, code, line):
    assert run(error) == (code, f"edgecls: {line}\n")


def test_the_end_of_a_failed_childs_log_is_shown(run):
    log = "".join(f"line {number}\n" for number in range(30))
    code, complained = run(errors.ChildFailed("it died", log))
    assert code == 1
    assert complained.splitlines() == ["edgecls: it died", *(f"  line {number}" for number in range(10, 30))]


def test_our_own_mistakes_keep_their_traceback(run):
    with pytest.raises(ZeroDivisionError):
        run(ZeroDivisionError("a bug"))


@pytest.mark.parametrize(("arguments", "line"), [(["--bogus"], "No such option: --bogus"), (["--seed"], "requires an arg")])
def test_wrong_options_are_one_line(run, arguments, line):
    code, complained = run(None, *arguments)
    assert code == 2
    assert complained.startswith("edgecls: ") and line in complained and complained.count("\n") == 1


def test_a_reader_that_has_left_is_no_error():
    import subprocess

    import command

    command_line = " ".join(command.line("list"))
    done = subprocess.run(["bash", "-c", f"{command_line} | head -n 1"], capture_output=True, text=True)
    assert done.stdout.startswith("name") and done.stderr == ""
