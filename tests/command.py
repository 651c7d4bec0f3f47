"""The `edgecls` command, run as people run it: in a process of its own, its output in a pipe."""

import os
import subprocess
import sys
from pathlib import Path


def edgecls(*arguments, timeout=300, **options) -> subprocess.CompletedProcess:
    """Run `edgecls ARGUMENTS` to its end, within `timeout` seconds; options of subprocess.run."""
    return subprocess.run(line(*arguments), capture_output=True, text=True, timeout=timeout, **options)


def line(*arguments) -> list[str]:
    return [sys.executable, "-m", "edgecls", *map(str, arguments)]


def with_path(folder: Path) -> dict[str, str]:
    """The environment in which modules of `folder` come before installed ones."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}


def files(folder: Path) -> dict[str, bytes | None]:
    """Everything in `folder` and below by its path: the content of files, None for folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }
