"""The command line: one thin module per verb, and one place where errors become exit codes."""

from __future__ import annotations

import importlib
import os
import signal
import sys

import typer
import typer.core
import typer.main
from typer.exceptions import TyperException

from edgecls import __version__
from edgecls.errors import ChildFailed, EdgeclsError

#: Exit code after Ctrl-C, as shells have it.
_INTERRUPTED = 128 + signal.SIGINT
#: Lines shown of the log of a child that failed.
_LOG_LINES = 20

#: Command -> the module that has it, and its line in `edgecls --help`.
_COMMANDS = {
    "finetune": ("finetune", "Train an architecture on your own pictures."),
    "export": ("export", "Make .tflite and .onnx files."),
    "recipes": ("recipes", "Explain the recipes that files are made by."),
    "calibrate": ("calibrate", "Check pictures before they are calibrated with."),
    "profile": ("profile", "Measure time and memory of models."),
    "devices": ("devices", "List the phones that adb knows."),
    "push": ("push", "Put files on phones."),
    "metadata": ("metadata", "Show or change what a file says of itself."),
    "verify": ("verify", "Compare files with the models they were made from."),
    "inspect": ("inspect", "Find the layers in which a quantized file loses accuracy."),
    "tune": ("tune", "Find the fastest file that loses no more than you allow."),
    "evaluate": ("evaluate", "Measure how often files are right on labelled pictures."),
    "app": ("app_", "Make a web page or an Android project around a file."),
    "list": ("list_", "List the architectures, or their families."),
    "show": ("show", "Show one architecture."),
    "weights": ("weights", "List and download published weights."),
}


class _Commands(typer.core.TyperGroup):
    """Imports a command's module when the command is called: none waits for what another needs."""

    def resolve_command(self, ctx, args):
        name, _, rest = super().resolve_command(ctx, args)
        module, _ = _COMMANDS[name]
        own = getattr(importlib.import_module(f"edgecls.cli.{module}"), module)
        if not isinstance(own, typer.Typer):  # one command, not several
            command, own = own, typer.Typer(add_completion=False, rich_markup_mode=None)
            own.command(name)(command)
        return name, typer.main.get_command(own), rest


app = typer.Typer(
    name="edgecls",
    cls=_Commands,
    help="Image classifiers, from an architecture's name to a small, fast, verified file on a phone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, (_, _help) in _COMMANDS.items():
    app.command(_name, help=_help)(lambda: None)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"edgecls {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Show the version."),
) -> None:
    pass


def main() -> None:
    """Run the command line and exit: 0 done, 1 the work failed, 2 asked wrongly, 130 interrupted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        code = app(standalone_mode=False)
    except EdgeclsError as error:
        _say(str(error))
        if isinstance(error, ChildFailed):
            _show_end(error.log)
        code = error.exit_code
    except TyperException as error:
        message = error.format_message()
        if message.startswith("Usage: "):  # the help, where a command was called without arguments
            print(message, file=sys.stderr)
        else:
            _say(" ".join(message.split()))
        code = error.exit_code
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except OSError as error:  # a disk that is full or gone
        _say(": ".join(filter(None, [error.filename, error.strerror or str(error)])))
        code = 1
    except KeyboardInterrupt:
        code = _INTERRUPTED
    if code == _INTERRUPTED:  # which is also what Typer makes of a KeyboardInterrupt
        _say("interrupted")
    sys.exit(code or 0)


def _say(message: str) -> None:
    print(f"edgecls: {message}", file=sys.stderr)


def _show_end(log: str) -> None:
    """The last of what a child printed before it failed for a reason of its own."""
    for line in log.splitlines()[-_LOG_LINES:]:
        print(f"  {line}", file=sys.stderr)
