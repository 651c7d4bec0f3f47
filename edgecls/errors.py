"""Every error edgecls raises on purpose.

    EdgeclsError
    ├── UsageError          exit 2: what was asked for cannot be done as asked
    │   ├── UnknownName     no architecture, recipe, format or runtime of that name
    │   ├── BadFile         a file is missing, unreadable or not what its name says
    │   └── WeightsMismatch tensors of a weights file do not fit the architecture
    └── WorkFailed          exit 1: the work was begun and did not succeed
        ├── ChildFailed     a child process died, ran out of memory or raised
        ├── DownloadFailed  a published file could not be had, or is not what was published
        ├── Disagreement    an artifact does not agree with its float model
        └── UncountableOp   a graph holds an op that has no counting rule

A message is one line: what was wrong, what was received, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EdgeclsError(Exception):
    """Root of the tree; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(EdgeclsError):
    exit_code = 2


class UnknownName(UsageError):
    """`kind` names what was looked up: "architecture", "precision", ..."""

    def __init__(self, kind: str, received: str, valid: Iterable[str]):
        self.kind, self.received, self.valid = kind, received, sorted(valid)
        super().__init__(f"unknown {kind} {received!r}; {self._advice()}")

    def _advice(self) -> str:
        received = self.received.lower()
        longer = [name for name in self.valid if received and name.startswith(received)]
        if len(longer) > 3:
            more = f" and {len(longer) - 12} more" if len(longer) > 12 else ""
            return f"those that begin so are {', '.join(longer[:12])}{more}"
        near = longer or difflib.get_close_matches(received, self.valid, n=3, cutoff=0.6)
        if near:
            return "did you mean " + " or ".join(near) + "?"
        if len(self.valid) <= 12:
            return "valid are " + ", ".join(self.valid)
        families = " --families" if self.kind == "family" else ""
        return f"`edgecls list{families}` shows all {len(self.valid)}"


class BadFile(UsageError):
    pass


class WeightsMismatch(UsageError):
    pass


class WorkFailed(EdgeclsError):
    exit_code = 1


class ChildFailed(WorkFailed):
    """`log` holds what the child printed, converters' chatter included."""

    def __init__(self, message: str, log: str = ""):
        super().__init__(message)
        self.log = log


class DownloadFailed(WorkFailed):
    pass


class Disagreement(WorkFailed):
    pass


class UncountableOp(WorkFailed):
    pass
