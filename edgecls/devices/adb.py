"""Phones, through the `adb` command: which there are, and work on one of them.

Every call is a process of its own that ends with the work, on time or when it is told to stop. Only
adb's own server, which the first call starts, stays, as after any other use of adb.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from edgecls.errors import UsageError, WorkFailed

#: Seconds within which a phone that is there answers a small question.
ANSWER_SECONDS = 20.0
#: States that a phone passes through while it connects, and how long that may take.
_PASSING, _PASSING_SECONDS = ("connecting", "authorizing"), 3.0
#: Least bytes a second at which a file is sent; slower is no connection.
_LEAST_SPEED = 100_000
_POLL_SECONDS = 0.05
#: Between two looks at how far a file is.
_LOOK_SECONDS = 0.7

#: What to do about a phone that is not ready, by its state.
_WAYS_OUT = {
    "unauthorized": "unlock it and allow USB debugging for this computer; if it does not ask, revoke the "
    "authorizations in its developer options and plug it in again",
    "authorizing": "unlock it and allow USB debugging for this computer",
    "offline": "plug it in again, or run `adb reconnect offline`",
    "connecting": "wait some seconds, or plug it in again",
    "no permissions": "this computer may not use it: on Linux install android-sdk-platform-tools-common, "
    "join the group plugdev, log in again and plug it in again",
    "recovery": "start it up: `adb reboot`",
    "sideload": "start it up: `adb reboot`",
    "bootloader": "start it up: `fastboot reboot`",
}
#: What to do where there is no phone.
ENABLE = (
    "plug one in and enable USB debugging in its developer options (Settings, About phone, seven taps on "
    "Build number), or `adb connect ADDRESS`"
)


class Stopped(Exception):
    """The work was told to stop; nobody waits for its result."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One line of `adb devices -l`; "device" is the state of a phone that is ready."""

    serial: str
    state: str
    model: str | None = None
    product: str | None = None

    @property
    def ready(self) -> bool:
        return self.state == "device"

    @property
    def way_out(self) -> str | None:
        """What to do where it is not ready."""
        if self.ready:
            return None
        known = (advice for state, advice in _WAYS_OUT.items() if self.state.startswith(state))
        return next(known, "plug it in again")


@dataclass(frozen=True)
class Answer:
    """How a call ended. out: standard output; err: what adb itself complained of."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode(errors="replace").replace("\r\n", "\n")


def listed() -> list[Listed]:
    """All phones that adb knows, ready or not. Raises UsageError without adb, WorkFailed where it fails.

    One that is about to connect is waited for, some seconds.
    """
    end = time.monotonic() + _PASSING_SECONDS
    while True:
        try:
            answer = call("devices", "-l")
        except TimeoutError as error:
            raise WorkFailed(
                f"adb itself does not answer ({error}); run `adb kill-server` and repeat the call"
            ) from error
        if answer.code:
            words = _last_line(answer.err) or _last_line(answer.text)
            raise WorkFailed(f"adb does not list devices: {words}; try `adb kill-server`")
        found = parse_list(answer.text)
        if not any(one.state in _PASSING for one in found) or time.monotonic() > end:
            return found
        time.sleep(_POLL_SECONDS)


def parse_list(text: str) -> list[Listed]:
    """What `adb devices -l` printed. Raises WorkFailed where that is no list."""
    _, header, lines = text.partition("List of devices attached")
    if not header:
        raise WorkFailed(f"adb does not list devices: {_last_line(text)}; try `adb kill-server`")
    found = []
    for line in filter(str.strip, lines.splitlines()):
        serial, state = re.match(r"(\(no serial number\)|\S+)\s+(.*)", line).groups()
        state, facts = re.match(
            r"(.*?)((?:\s+(?:usb|product|model|device|transport_id|features):\S*)*)\s*$", state
        ).groups()
        known = dict(fact.split(":", 1) for fact in facts.split())
        found.append(
            Listed(serial=serial, state=state, model=known.get("model"), product=known.get("product"))
        )
    return found


def choose(serial: str | None = None) -> Listed:
    """The phone of that serial, of ANDROID_SERIAL, or the only one that is ready.

    Raises UsageError, with the way out, where there is no such phone, or no single one.
    """
    found = listed()
    wanted = serial or os.environ.get("ANDROID_SERIAL")
    if wanted:
        for one in found:
            if one.serial == wanted:
                return _ready(one)
        there = f"there are {', '.join(one.serial for one in found)}" if found else f"there is none; {ENABLE}"
        raise UsageError(f"no phone {wanted!r}; {there}")
    ready = [one for one in found if one.ready]
    if len(ready) > 1:
        raise UsageError(
            f"{len(ready)} phones are ready: {', '.join(one.serial for one in ready)}; "
            "name one with --serial, or take --all"
        )
    return ready[0] if ready else _none_ready(found)


def all_ready() -> tuple[list[Listed], list[str]]:
    """Every phone that is ready, and a note for each that is not. Raises UsageError where none is."""
    found = listed()
    ready = [one for one in found if one.ready]
    if not ready:
        _none_ready(found)
    return ready, [f"{_unready(one)}; it is left out" for one in found if not one.ready]


def _none_ready(found: list[Listed]):
    if not found:
        raise UsageError(f"no phone is connected; {ENABLE}")
    raise UsageError("; ".join(map(_unready, found)))


def _ready(one: Listed) -> Listed:
    if not one.ready:
        raise UsageError(_unready(one))
    return one


def _unready(one: Listed) -> str:
    return f"{one.serial} is {one.state}: {one.way_out}"


class Phone:
    """One phone. stop: once it is set, what runs there ends with `Stopped`."""

    def __init__(self, serial: str, *, stop: threading.Event | None = None):
        self.serial, self._stop = serial, stop

    def shell(self, script: str, *, seconds: float | None = None, last_will: bool = False) -> tuple[int, str]:
        """(exit code, what it printed on either stream) of a script for the phone's shell.

        last_will: run it although the work was told to stop.
        Raises WorkFailed where the connection is lost or no answer comes within `seconds`.
        """
        seconds = seconds or ANSWER_SECONDS
        # The code is printed: phones before Android 7 do not send it, and where it is missing one is gone.
        answer = self._call(
            "shell", f'{{ {script}\n}} 2>&1; echo "[exit $?]"', seconds=seconds, last_will=last_will
        )
        printed, mark, code = answer.text.rpartition("[exit ")
        if not mark or not code.rstrip().removesuffix("]").isdigit():
            raise self._lost(answer)
        return int(code.rstrip().removesuffix("]")), printed

    def push(self, source: Path, target: str, *, on_bytes: Callable[[int], None] | None = None) -> str | None:
        """Send a file. Returns None, or what went wrong in adb's words. on_bytes: bytes that are there.

        Raises WorkFailed where the connection is lost.
        """

        def look():
            with contextlib.suppress(WorkFailed, ValueError):
                _, text = self.shell(f"stat -c %s {shlex.quote(target)}")
                on_bytes(int(text))

        seconds = ANSWER_SECONDS + source.stat().st_size / _LEAST_SPEED
        answer = self._call("push", str(source.absolute()), target, seconds=seconds, look=on_bytes and look)
        if answer.code == 0:
            return None
        words = answer.err + answer.text
        if not re.search(r"remote |No such file|open '", words) and self._gone():
            raise self._lost(answer)
        return next((line for line in words.splitlines() if "error" in line), _last_line(words))

    def read(self, path: str, *, seconds: float) -> bytes:
        """A file of the phone."""
        answer = self._call("exec-out", f"cat {shlex.quote(path)}", seconds=seconds)
        if answer.code:
            raise self._lost(answer)
        return answer.out

    def _call(self, *arguments: str, last_will=False, **options) -> Answer:
        try:
            return call("-s", self.serial, *arguments, stop=None if last_will else self._stop, **options)
        except TimeoutError as error:
            raise WorkFailed(
                f"{self.serial} does not answer ({error}); unlock it, plug it in again or run `adb reconnect`, "
                "and repeat the call"
            ) from error

    def _gone(self) -> bool:
        return not any(one.ready and one.serial == self.serial for one in listed())

    def _lost(self, answer: Answer) -> WorkFailed:
        words = _last_line(answer.err) or _last_line(answer.text) or f"exit code {answer.code}"
        return WorkFailed(
            f"lost the connection to {self.serial} ({words.removeprefix('adb: ').removeprefix('error: ')}); "
            "plug it in again, and repeat the call: it goes on with what is missing"
        )


def call(
    *arguments: str,
    seconds: float | None = None,
    stop: threading.Event | None = None,
    look: Callable[[], None] | None = None,
) -> Answer:
    """Run `adb ARGUMENTS` to its end.

    look is called now and then meanwhile. Raises UsageError without adb, TimeoutError after `seconds`,
    Stopped once `stop` is set; the process is gone then.
    """
    seconds = seconds or ANSWER_SECONDS
    # Files, not pipes: the server that the first call starts may keep them open.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen([command(), *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        end, next_look = time.monotonic() + seconds, time.monotonic() + _LOOK_SECONDS
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_POLL_SECONDS)
                    break
                now = time.monotonic()
                if stop is not None and stop.is_set():
                    raise Stopped
                if now > end:
                    raise TimeoutError(f"{seconds:.0f} s")
                if look and now > next_look:
                    look()
                    next_look = time.monotonic() + _LOOK_SECONDS
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        if stop is not None and stop.is_set():
            raise Stopped
        out.seek(0)
        err.seek(0)
        return Answer(child.returncode, out.read(), err.read().decode(errors="replace"))


def command() -> str:
    """The adb to call: on PATH, or of the Android SDK. Raises UsageError where there is none."""
    if found := shutil.which("adb"):
        return found
    for folder in _sdk_folders():
        if found := shutil.which("adb", path=folder / "platform-tools"):
            return found
    raise UsageError(
        "no adb on PATH; install Android's platform tools (Debian, Ubuntu: apt install adb; Fedora: dnf "
        "install android-tools; macOS: brew install android-platform-tools; Windows: winget install "
        "Google.PlatformTools)"
    )


def _sdk_folders() -> Iterable[Path]:
    return [Path(os.environ[name]) for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT") if os.environ.get(name)]


def _last_line(text: str) -> str:
    return next(filter(None, map(str.strip, reversed(text.splitlines()))), "")
