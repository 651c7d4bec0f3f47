"""Measurements on a phone, by a benchmark tool of the user's own, as records like this computer's."""

from __future__ import annotations

import contextlib
import datetime
import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path

from edgecls import artifact
from edgecls.devices import tools
from edgecls.devices.adb import Phone
from edgecls.devices.facts import Facts, describe
from edgecls.devices.push import FOLDER, Item, place
from edgecls.devices.tools import DELEGATES, Tool
from edgecls.errors import EdgeclsError, WorkFailed
from edgecls.profiling import Condition, Device, Profile, Settings, Subject, Timing
from edgecls.profiling.machine import Machine
from edgecls.runtimes import for_file

#: Where a file is while it is measured.
_BENCH = f"{FOLDER}/bench"
#: Seconds a phone may take to cool down between two files.
COOL_SECONDS = 120.0
#: It has cooled when its battery is at most so much warmer than at first, °C, and Android slows nothing down.
_WARMER = 1.0
_LOOK_SECONDS = 5.0
#: Seconds that a tool may take besides the runs: it ends them itself after 150.
_TOOL_SECONDS = 600.0

#: PowerManager's thermal status, by number.
_THERMAL = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
_CONDITION = "dumpsys thermalservice 2>/dev/null | grep -m 1 'Thermal Status'; dumpsys battery 2>/dev/null"


class Bench:
    """A phone with a tool on it.

    delegate: of `tools.DELEGATES`; logs: where output goes that is not understood.

    Raises UsageError where the phone does not run the tool, WorkFailed where it cannot be put there.
    """

    def __init__(
        self,
        phone: Phone,
        tool: Tool,
        *,
        delegate: str,
        cool_seconds: float,
        logs: Path,
        on_note: Callable[[str], None],
    ):
        self.phone, self.tool, self.delegate, self.logs, self.on_note = phone, tool, delegate, logs, on_note
        self.cool_seconds = cool_seconds
        self.facts: Facts = describe(phone)
        tool.check_delegate(delegate)
        tools.check_abi(tool, self.facts.abis, phone.serial)
        self.name = f"{tool.path.name} {artifact.sha256(tool.path)[:12]}"
        (self._tool,) = place(phone, FOLDER, [_item(tool.path, executable=True)])
        self._at_first = self._condition()
        if tool.abi is None:
            on_note(
                f"{tool.path.name} is a script, which knows numbers of runs alone: "
                "--min-seconds does not count"
            )

    @property
    def key(self) -> list[str]:
        """What measurements that may stand in one run have in common."""
        return [self.phone.serial, self.name, self.delegate]

    def profile_file(
        self, path: Path, subject: Subject, settings: Settings, *, run: str, error: str | None = None
    ) -> Profile:
        """Measure `path` on the phone; what fails is told in the record, see `profiling.profile_file`."""
        before = cooled(self._condition, self._at_first, self.cool_seconds)
        if is_warm(before, self._at_first) and self.cool_seconds:
            self.on_note(f"{self.phone.serial} is still warm after {self.cool_seconds:.0f} s; see --cool")
        after, timing = None, None
        if error is None:
            try:
                timing = self._measure(path, subject, settings)
                after = self._condition()
            except EdgeclsError as failure:
                error = str(failure)
        return Profile(
            run=run,
            time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            subject=subject,
            runtime=for_file(path).name,
            runtime_version=self.name,
            settings=settings,
            machine=self._machine(),
            load_average=None,
            busy_cores=None,
            timing=timing,
            error=error,
            device=self._device(before, after),
        )

    def _measure(self, path: Path, subject: Subject, settings: Settings) -> Timing:
        """The file is on the phone for so long only."""
        (model,) = place(self.phone, _BENCH, [_item(path)])
        pid = f"{_BENCH}/pid"
        try:
            words = [self._tool.path, *self.tool.arguments(model.path, settings, self.delegate)]
            seconds = _TOOL_SECONDS + settings.min_seconds + settings.warmup_seconds
            run = f"{' '.join(map(shlex.quote, words))} & echo $! >{pid}; wait $!"
            code, printed = self.phone.shell(run, seconds=seconds)
        except BaseException:
            self._tidy(f"kill $(cat {pid})")
            raise
        finally:
            self._tidy(f"rm -f {shlex.quote(model.path)} {pid}")
        try:
            if code:
                raise ValueError(f"exit code {code}")
            timing = tools.parse(printed, {"num_threads": settings.threads, "delegate": self.delegate})
            unknown = tools.ignored(printed)
            if self.delegate != DELEGATES[0] and any(flag.startswith("--use_") for flag in unknown):
                raise ValueError(
                    f"it does not know {' '.join(unknown)}, which --delegate {self.delegate} needs"
                )
        except ValueError as error:
            log = self._keep(printed, subject)
            known = tools.failure(printed, subject.precision)
            reason = known or f"{self.tool.path.name} did not end as it should: {error}"
            raise WorkFailed(f"{reason}; all that it printed is in {log}") from error
        if unknown:
            self.on_note(f"{self.tool.path.name} does not know {' '.join(unknown)} and went on without")
        return timing

    def _tidy(self, script: str) -> None:
        """As far as the phone is still there."""
        with contextlib.suppress(EdgeclsError):
            self.phone.shell(script, seconds=5)

    def _keep(self, printed: str, subject: Subject) -> Path:
        """Write what a tool printed into a file of its own."""
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        self.logs.mkdir(parents=True, exist_ok=True)
        serial = re.sub(r"[^\w.-]", "_", self.phone.serial)
        log = self.logs / f"{subject.file}-{serial}-{now}.log"
        log.write_text(printed, encoding="utf-8")
        return log

    def _condition(self) -> Condition:
        return parse_condition(self.phone.shell(_CONDITION)[1])

    def _machine(self) -> Machine:
        facts = self.facts
        return Machine(
            cpu=facts.cpu or facts.soc or "unknown",
            features=facts.features,
            physical_cores=None,
            logical_cores=facts.cores,
            governor=facts.governor,
            memory=facts.memory,
            system=f"Android {facts.android}, {facts.kernel}" if facts.android else facts.kernel,
            python=None,
        )

    def _device(self, before: Condition, after: Condition | None) -> Device:
        facts = self.facts
        return Device(
            serial=self.phone.serial,
            model=facts.model,
            soc=facts.soc,
            abis=facts.abis,
            android=facts.android,
            emulated=facts.virtual,
            tool=self.name,
            before=before,
            after=after,
        )


def cooled(look: Callable[[], Condition], at_first: Condition, seconds: float) -> Condition:
    """What `look` tells once the phone is as cool as it was at first, or has had its time."""
    end = time.monotonic() + seconds
    while is_warm(now := look(), at_first) and time.monotonic() < end:
        time.sleep(min(_LOOK_SECONDS, max(0.0, end - time.monotonic())))
    return now


def is_warm(now: Condition, at_first: Condition) -> bool:
    """Whether Android slows it down, or its battery has become warmer. What is not told is not warm."""
    if now.thermal not in (None, "none"):
        return True
    return None not in (now.celsius, at_first.celsius) and now.celsius > at_first.celsius + _WARMER


def parse_condition(text: str) -> Condition:
    """What `dumpsys battery` and `dumpsys thermalservice` printed, the latter's line of status alone."""
    told = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())
    }

    def number(name: str) -> int | None:
        value = told.get(name, "")
        return int(value) if re.fullmatch(r"-?\d+", value) else None

    thermal, tenths, status = number("Thermal Status"), number("temperature"), number("status")
    return Condition(
        thermal=_THERMAL[thermal] if thermal is not None and 0 <= thermal < len(_THERMAL) else None,
        celsius=None if tenths is None else tenths / 10,
        battery=number("level"),
        charging=None if status is None else status == 2,  # BatteryManager.BATTERY_STATUS_CHARGING
    )


def _item(path: Path, *, executable: bool = False) -> Item:
    return Item(
        name=path.name,
        source=path,
        bytes=path.stat().st_size,
        sha256=artifact.sha256(path),
        executable=executable,
    )
