"""Other people's programs that read our files, in Python environments of their own (scripts/peer_NAME)."""

import json
import os
import subprocess
from pathlib import Path

import pytest

#: Where scripts/peer_NAME puts each.
FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgecls-peers"
_TESTS = Path(__file__).resolve().parent


def ask(peer: str, program: str, jobs: list[dict]) -> list[dict]:
    """What `program`, a file beside this one, answers to each job; an answer may have an "error".

    Skips the test where the peer is not set up.
    """
    python = FOLDER / peer / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"run scripts/peer_{peer}")
    done = subprocess.run(
        [python, "-I", _TESTS / program], input=json.dumps(jobs), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
