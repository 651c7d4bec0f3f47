"""The machine that figures come from, and how busy it is."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

#: CPU features that decide how fast a network runs, by the kernel's names for them.
FEATURES = (
    "sse4_1", "fma", "f16c", "avx", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "amx_tile", "amx_int8", "amx_bf16",
    "neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Machine:
    """memory: bytes; governor: how the kernel sets the clock, None where it does not say; python: None of a
    phone."""

    cpu: str
    features: tuple[str, ...]
    physical_cores: int | None
    logical_cores: int | None
    governor: str | None
    memory: int | None
    system: str
    python: str | None


@functools.cache
def describe() -> Machine:
    import psutil

    cpu, features = _cpu()
    return Machine(
        cpu=cpu,
        features=features,
        physical_cores=psutil.cpu_count(logical=False),
        logical_cores=psutil.cpu_count() or 1,
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        memory=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
    )


def load_average() -> float | None:
    """Of the last minute; None where the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def busy_cores(seconds: float = 0.3) -> float:
    """Cores in use, averaged over the next `seconds`."""
    import psutil

    return psutil.cpu_percent(seconds) / 100 * (psutil.cpu_count() or 1)


def _cpu() -> tuple[str, tuple[str, ...]]:
    """Name and features of the first CPU."""
    if sys.platform == "darwin":
        name = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        return name.stdout.strip() or platform.machine(), ()
    lines = (line.partition(":") for line in _read("/proc/cpuinfo").splitlines())
    facts: dict[str, str] = {}
    for key, _, value in lines:
        facts.setdefault(key.strip().lower(), value.strip())
    name = facts.get("model name") or facts.get("hardware") or platform.processor() or platform.machine()
    present = set((facts.get("flags") or facts.get("features") or "").split())
    return name, tuple(feature for feature in FEATURES if feature in present)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
