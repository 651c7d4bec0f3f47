"""The folder of an app: there as a whole or not at all, and nothing of the user's is lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

from edgecls import artifact
from edgecls.errors import UsageError

#: Says, in the folder of an app, what it is and the sha256 of each file as it was written.
MARK = "edgecls-app.json"
#: Files that are named in errors.
_NAMED = 3


def check(out: Path, *, model: Path, force: bool) -> None:
    """Raise UsageError where an app cannot be written to `out`, or something of the user's would go.

    It may be absent, empty, or an app that is as it was written; anything else with `force`. What has
    the model in it, or the place that the user is in, is never replaced.
    """
    out = out.absolute()
    if os.path.lexists(out) and not out.is_dir():
        raise UsageError(f"{str(out)!r} is a file; name a folder with --out")
    places = {"the model": model, "the folder you are in": Path.cwd(), "your home folder": Path.home()}
    for what, kept in places.items():
        if kept.resolve().is_relative_to(out.resolve()):
            raise UsageError(f"{str(out)!r} holds {what}; name a new folder with --out")
    artifact.check_writable(out.parent)
    if not force and (own := _of_the_user(out)):
        more = f" and {len(own) - _NAMED} more" if len(own) > _NAMED else ""
        raise UsageError(
            f"{str(out)!r} has files of your own ({', '.join(own[:_NAMED])}{more}); "
            "name another folder with --out, or --force to replace all of it"
        )


@contextlib.contextmanager
def writing(out: Path, app: str) -> Iterator[Path]:
    """A new folder that takes the place of `out` when the block ends well, with the texts of `app` in it.

    What was there is deleted then: see `check`.
    """
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".partial", dir=out.parent) as beside:
        new, old = Path(beside, "new"), Path(beside, "old")
        with resources.as_file(resources.files("edgecls.apps") / "templates" / app) as texts:
            for text in _files(texts):  # their contents: an installed package may be for reading alone
                (new / text.relative_to(texts)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(text, new / text.relative_to(texts))
        yield new
        with artifact.writing(new / MARK) as file:
            json.dump({"app": app, "files": _digests(new)}, file, indent=1)
        if out.exists():
            os.replace(out, old)
        try:
            os.replace(new, out)
        except BaseException:
            if old.exists():
                os.replace(old, out)
            raise


def _of_the_user(out: Path) -> list[str]:
    """Files in `out` that no app was written with, or that are not as they were written."""
    if not out.is_dir():
        return []
    try:
        written = artifact.decode(Mapping[str, str], json.loads((out / MARK).read_text("utf-8"))["files"])
    except (OSError, ValueError, LookupError, TypeError):  # another's
        written = {}
    found = _digests(out)
    found.pop(MARK, None)
    return [name for name, digest in found.items() if written.get(name) != digest]


def _digests(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): artifact.sha256(path) for path in _files(folder)}


def _files(folder: Path) -> list[Path]:
    """All below, but for what Python leaves beside a program."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
