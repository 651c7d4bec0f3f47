"""Work in a child process: its own memory, its chatter captured, its peak measured.

The parent writes one job to the child's standard input as a line of JSON and keeps the pipe open;
when the parent is gone the pipe closes and the child leaves. The child answers on standard output
with JSON lines: any number of `{"event": ...}` and at last `{"result": ...}` or `{"error": ...}`.
Whatever libraries print, on either stream, goes to the log.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgecls import errors

_POLL_SECONDS = 0.1
#: What the system says of a disk that takes no more, in whatever error a library wraps it; and NumPy's words for it.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DISK_FULL = (*map(os.strerror, _FULL), *(f"[Errno {code}]" for code in _FULL), "requested and")


@dataclass(frozen=True)
class Outcome:
    """result: what the function returned; peak_memory: bytes, largest resident set of the child;
    seconds: from start to exit; log: all that was printed."""

    result: Any
    peak_memory: int
    seconds: float
    log: str


def run(
    function: str,
    job: Mapping[str, Any],
    *,
    memory_cap: int | None = None,
    stop: threading.Event | None = None,
    verbose: bool = False,
    on_event: Callable[[Any], None] = lambda event: None,
) -> Outcome:
    """Call `function` ("package.module:name") with `job` as keyword arguments in a child process.

    job and result are JSON values. The function gets one more argument, `emit`, to send events.
    memory_cap: bytes of resident memory at which the child is killed. stop: once it is set, too.
    verbose: what is printed goes to this process's standard error, not to the log.
    Raises what the child raised where it is an EdgeclsError, WorkFailed for a full disk,
    ChildFailed otherwise.
    """
    start = time.monotonic()
    with tempfile.TemporaryFile() as log_file:
        child = subprocess.Popen(
            # -P: a file in the user's folder must not shadow a module that a library imports.
            [sys.executable, "-P", "-m", "edgecls.process", function],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if verbose else log_file,
            env=os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONHASHSEED": "0"},
            encoding="utf-8",
        )
        answer: dict[str, Any] = {}
        watch = _Watch(child, memory_cap, stop)
        try:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(json.dumps(dict(job)) + "\n")
                child.stdin.flush()
            for line in child.stdout:
                message = json.loads(line)
                if "event" in message:
                    on_event(message["event"])
                else:
                    answer = message
            child.wait()
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            watch.end()
            for pipe in (child.stdin, child.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()
            log_file.seek(0)
            log = log_file.read().decode(errors="replace")
    work = function.rpartition(".")[2].replace(":", ".")
    if stop is not None and stop.is_set():  # whatever it has answered, the work is to end
        raise errors.ChildFailed(f"{work} was stopped", log)
    if "result" in answer:
        return Outcome(answer["result"], answer["peak_memory"], time.monotonic() - start, log)
    if watch.exceeded:
        raise errors.ChildFailed(f"{work} passed its memory cap of {memory_cap / 1e9:.1f} GB and was stopped", log)
    if "error" in answer:
        raise _raised(work, **answer["error"], log=log)
    code = child.returncode
    cause = f"signal {-code}" if code < 0 else f"exit code {code}"
    hint = "; the system may have run out of memory" if code == -signal.SIGKILL else ""
    raise errors.ChildFailed(f"{work} died with {cause}{hint}", log)


def _raised(work, type, message, log) -> errors.EdgeclsError:
    """What the child raised, as this process raises it."""
    known = getattr(errors, type, None)
    if known is not None:
        error = known.__new__(known)  # some of the tree build their message from parts
        Exception.__init__(error, message)
        return error
    if any(words in message for words in _DISK_FULL):
        return errors.WorkFailed(f"{work} cannot write: {message}; make room on the disk")
    return errors.ChildFailed(f"{work} failed: {type}: {message}", log)


class _Watch(threading.Thread):
    """Kills a child that passes `cap` bytes of resident memory, or when `stop` is set."""

    def __init__(self, child, cap, stop):
        super().__init__(daemon=True)
        self.child, self.cap, self.stop, self.exceeded = child, cap, stop, False
        self._ended = threading.Event()
        if cap is not None or stop is not None:
            self.start()

    def run(self):
        import psutil

        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.child.pid)
            while not self._ended.wait(_POLL_SECONDS):
                self.exceeded = self.cap is not None and process.memory_info().rss > self.cap
                if self.exceeded or (self.stop is not None and self.stop.is_set()):
                    self.child.kill()
                    return

    def end(self):
        self._ended.set()


def peak_memory() -> int:
    """Bytes: the largest resident set this process has had."""
    try:
        # The kernel's own mark of this program; ru_maxrss would include the parent before exec.
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _child(function: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when work stops
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_parent, daemon=True).start()

    def send(**message):
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    module, _, name = function.partition(":")
    try:
        work = getattr(importlib.import_module(module), name)
        result = work(**job, emit=lambda event: send(event=event))
        send(result=result, peak_memory=peak_memory())
    except Exception as error:
        import traceback

        traceback.print_exc()
        message = (str(error).strip() or type(error).__name__).split("\n")[0]
        send(error={"type": type(error).__name__, "message": message})
    sys.stderr.flush()
    # Skip the interpreter's shutdown: some native libraries crash or hang in it.
    os._exit(0)


def _leave_with_parent():
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    _child(sys.argv[1])
