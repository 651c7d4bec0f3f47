"""What a classifier says to each picture: computed in child processes, and kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgecls import fetch, images, runtimes, verification
from edgecls.artifact import TensorInfo
from edgecls.errors import BadFile, WorkFailed
from edgecls.spec import Preprocess
from edgecls.verification.measures import best

#: Best classes that are kept of each picture.
BEST = 5
#: A child tells of what it has done as often, seconds.
_TELL_SECONDS = 0.5


class Predictions:
    """The best classes of one file for many pictures, as lines of JSON in the cache.

    identity: all that decides them; what is known of another is never read. A picture is known again
    by its path, size and time of change.
    """

    def __init__(self, identity: Mapping[str, Any]):
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self.path = fetch.cache_folder() / "predictions" / f"{digest[:32]}.jsonl"
        self._known: dict[str, list[int]] = {}
        self._torn = False
        if self.path.is_file():
            for line in self.path.read_bytes().splitlines(keepends=True):
                self._torn = not line.endswith(b"\n")
                with contextlib.suppress(ValueError):  # a writer was killed amid the line
                    key, found = json.loads(line)
                    self._known[key] = found

    def get(self, picture: Path) -> list[int] | None:
        return self._known.get(_key(picture))

    def add(self, found: Iterable[tuple[Path, list[int]]]) -> None:
        """Raises OSError where they cannot be kept."""
        lines = "".join(json.dumps([_key(picture), classes]) + "\n" for picture, classes in found)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab") as file:
            file.write(("\n" * self._torn + lines).encode())
        self._torn = False


def _key(picture):
    state = os.stat(picture)
    return f"{state.st_size} {state.st_mtime_ns} {os.path.abspath(picture)}"


def predict(files: list[dict[str, Any]], pictures: list[tuple[int, str, list[int]]], emit) -> None:
    """Child process: run `files`, as `verification.check` takes them, on pictures.

    pictures: (number, path, numbers of the files that are to see it). Sends {"found": [(number of the
    picture, number of the file, best classes), ...], "unreadable": [(number, reason), ...]}.
    Raises WorkFailed for logits that are not finite.
    """
    runs = [_runner(file) for file in files]
    found, unreadable, told = [], [], time.monotonic()
    for number, path, wanted in pictures:
        try:
            seen: dict[str, np.ndarray] = {}
            for place in wanted:
                how = json.dumps(files[place]["preprocess"])
                if how not in seen:
                    seen[how] = images.load(path, Preprocess.from_json(files[place]["preprocess"]))
                found.append((number, place, runs[place](seen[how], path)))
        except BadFile as error:
            unreadable.append((number, str(error)))
        if time.monotonic() - told > _TELL_SECONDS:
            emit({"found": found, "unreadable": unreadable})
            found, unreadable, told = [], [], time.monotonic()
    emit({"found": found, "unreadable": unreadable})


def _runner(file):
    """The function from a picture to its best classes."""
    session = runtimes.open(file["path"])
    ends = {name: TensorInfo(**end) for name, end in file["ends"].items()}

    def run(picture, path):
        logits = verification.logits(session, [picture[None]], ends=ends)
        if not np.isfinite(logits).all():
            raise WorkFailed(f"{Path(file['path']).name} gives logits that are not finite for {path}")
        return best(logits, BEST)[0].tolist()

    return run
