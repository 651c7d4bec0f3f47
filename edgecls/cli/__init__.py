"""The command line: one thin module per verb, and one place where errors become exit codes."""

from __future__ import annotations

import os
import signal
import sys

import typer
from typer.exceptions import TyperException

from edgecls import __version__, process
from edgecls.cli import export, list_, profile, show
from edgecls.errors import EdgeclsError

app = typer.Typer(
    name="edgecls",
    help="Image classifiers, from an architecture's name to a small, fast, verified file on a phone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("export")(export.export)
app.command("profile")(profile.profile)
app.command("list")(list_.list_)
app.command("show")(show.show)


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
    except (EdgeclsError, TyperException) as error:
        _say(str(error) if isinstance(error, EdgeclsError) else _usage(error))
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted")
        code = 130
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    finally:
        process.stop_all()
    sys.exit(code or 0)


def _usage(error: TyperException) -> str:
    return " ".join(error.format_message().split())


def _say(message: str) -> None:
    print(f"edgecls: {message}", file=sys.stderr)
