"""Work for the child processes of tests: `edgecls.process.run("children:NAME", ...)`."""

import builtins
import os
import subprocess
import time

from edgecls import errors


def answer(emit, **job):
    for step in range(3):
        emit({"stage": "count", "done": step})
    return job


def chatter(emit):
    print("printed")
    os.write(1, b"written\n")
    subprocess.run(["echo", "from a grandchild"], check=True)
    os.write(2, b"complained\xff\n")
    return "answered"


def fail(emit, kind, arguments):
    print("on the way")
    raise getattr(errors if hasattr(errors, kind) else builtins, kind)(*arguments)


def hold(emit, size):
    held = bytearray(size)
    held[:: os.sysconf("SC_PAGESIZE")] = b"1" * len(held[:: os.sysconf("SC_PAGESIZE")])
    emit("held")
    time.sleep(0.5)
    return len(held)


def kill_itself(emit, signal):
    os.kill(os.getpid(), signal)
    return "survived"


def leave(emit, code):
    os._exit(code)


def wait(emit):
    emit(os.getpid())
    time.sleep(60)
