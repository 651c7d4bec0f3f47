"""Where profiles are kept: one line of JSON each, added and never changed.

A call that measures many files is a run. Until it is finished a small file beside the profiles
remembers what was to be measured, so that the same call goes on where it was interrupted.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from edgecls import artifact
from edgecls.errors import BadFile
from edgecls.profiling.record import SCHEMA, Profile


@dataclass(frozen=True)
class Run:
    """measured: what an interrupted call got done; notes: what reading it showed."""

    name: str
    measured: tuple[Profile, ...] = ()
    notes: tuple[str, ...] = ()


class Store:
    """`profiles.jsonl` in `folder`, and the run that is under way there."""

    def __init__(self, folder: Path):
        self.path = folder / "profiles.jsonl"
        self._state = folder / ".profile-run.json"

    def append(self, profile: Profile) -> None:
        """Add a line, in one piece, so that two writers cannot mix theirs."""
        line = json.dumps(profile.to_json(), separators=(",", ":")) + "\n"
        with open(self.path, "ab") as file:
            file.write(("\n" * self._ends_amid_a_line() + line).encode())
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> tuple[list[Profile], list[str]]:
        """All profiles, and a note for each line that a killed writer left unfinished.

        Raises BadFile where a whole line is not a profile.
        """
        profiles, notes = [], []
        if not self.path.exists():
            return profiles, notes
        for number, line in enumerate(self.path.read_bytes().splitlines(), 1):
            place = f"{self.path.name} line {number}"
            try:
                record = json.loads(line)
            except ValueError:
                notes.append(f"{place} is unfinished and was skipped")
                continue
            try:
                if record.get("schema") != SCHEMA:
                    advice = "use the edgecls that wrote it, or another folder with --artifacts"
                    raise ValueError(f"schema {record.get('schema')!r} is not {SCHEMA}; {advice}")
                profiles.append(artifact.decode(Profile, record))
            except (ValueError, TypeError, AttributeError) as error:
                raise BadFile(f"{place} is not a profile: {error}") from error
        return profiles, notes

    def begin(self, plan: str) -> Run:
        """The unfinished run of the same `plan` (a digest), else a new one."""
        unfinished = self._unfinished()
        if unfinished.get("plan") == plan:
            profiles, notes = self.read()
            measured = [p for p in profiles if p.run == unfinished["run"] and p.error is None]
            return Run(unfinished["run"], tuple(measured), tuple(notes))
        run = Run(uuid.uuid4().hex)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with artifact.writing(self._state) as file:
            json.dump({"plan": plan, "run": run.name}, file)
        return run

    def finish(self) -> None:
        """The next call measures afresh."""
        self._state.unlink(missing_ok=True)

    def _unfinished(self) -> dict[str, str]:
        try:
            return json.loads(self._state.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise BadFile(f"{str(self._state)!r} is damaged; remove it to measure afresh") from error

    def _ends_amid_a_line(self) -> bool:
        try:
            with open(self.path, "rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1) != b"\n"
        except OSError:  # no file, or an empty one
            return False
