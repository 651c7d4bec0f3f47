"""What a phone tells of itself; what it does not tell is None."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgecls.devices.adb import Phone
from edgecls.devices.push import FOLDER
from edgecls.profiling.machine import FEATURES

_PROPERTIES = (
    "ro.product.manufacturer", "ro.product.model", "ro.soc.manufacturer", "ro.soc.model", "ro.board.platform",
    "ro.hardware", "ro.build.version.release", "ro.build.version.sdk", "ro.product.cpu.abilist",
    "ro.product.cpu.abi", "ro.kernel.qemu", "ro.boot.qemu",
)  # fmt: skip
#: One line each, "name=value"; a tool that the phone lacks leaves its line empty.
_SCRIPT = f"""
for name in {" ".join(_PROPERTIES)}; do echo "$name=$(getprop $name 2>/dev/null)"; done
echo "kernel=$(uname -r 2>/dev/null)"
echo "machine=$(uname -m 2>/dev/null)"
echo "cores=$(nproc 2>/dev/null)"
echo "governor=$(cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null)"
echo "memory=$(grep -m 1 MemTotal /proc/meminfo 2>/dev/null)"
for name in 'model name' Hardware flags Features; do
    echo "$name=$(grep -m 1 "^$name" /proc/cpuinfo 2>/dev/null)"
done
echo "shell=$(readlink /proc/$$/exe 2>/dev/null)"
echo "disk=$(df -k {FOLDER.rpartition("/")[0]} 2>/dev/null | tail -n 1)"
"""
#: ABIs that run on a kernel of this machine, best first, where Android's own list is not to be had.
_ABIS = {
    "aarch64": ("arm64-v8a", "armeabi-v7a"),
    "armv8l": ("armeabi-v7a",),
    "armv7l": ("armeabi-v7a",),
    "x86_64": ("x86_64", "x86"),
    "i686": ("x86",),
    "riscv64": ("riscv64",),
}
#: Boards of Android's emulators.
_VIRTUAL = ("goldfish", "ranchu", "vsoc")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """android: the version; api: its level; abis: what it runs, best first; virtual: whether it is an
    emulator; free: bytes where models go; memory: bytes."""

    model: str | None
    soc: str | None
    android: str | None
    api: int | None
    abis: tuple[str, ...]
    virtual: bool
    cpu: str | None
    features: tuple[str, ...]
    cores: int | None
    governor: str | None
    memory: int | None
    kernel: str
    free: int | None


def describe(phone: Phone) -> Facts:
    """Raises WorkFailed where the phone does not answer."""
    return parse(phone.shell(_SCRIPT)[1])


def parse(text: str) -> Facts:
    """The facts in what the phone printed."""
    told = {
        name: value.strip()
        for name, mark, value in (line.partition("=") for line in text.splitlines())
        if mark
    }

    def known(*names: str) -> str | None:
        return " ".join(dict.fromkeys(filter(None, map(told.get, names)))) or None

    machine = told.get("machine", "")
    listed = (known("ro.product.cpu.abilist") or known("ro.product.cpu.abi") or "").split(",")
    # Under QEMU's user emulation the processes of others show what runs them, whatever else is made up.
    virtual = (
        "qemu" in told.get("shell", "")
        or "1" in (told.get("ro.kernel.qemu"), told.get("ro.boot.qemu"))
        or told.get("ro.hardware") in _VIRTUAL
    )
    disk = re.search(r"\s\d+\s+\d+\s+(\d+)\s+\d+%", told.get("disk", ""))
    features = set(_after_colon(known("Features") or known("flags")).split())
    return Facts(
        model=known("ro.product.manufacturer", "ro.product.model"),
        soc=known("ro.soc.manufacturer", "ro.soc.model") or known("ro.board.platform"),
        android=known("ro.build.version.release"),
        api=_number(told.get("ro.build.version.sdk")),
        abis=tuple(filter(None, listed)) or _ABIS.get(machine, (machine,)),
        virtual=virtual or "qemu" in _after_colon(known("Hardware") or known("model name")).lower(),
        cpu=_after_colon(known("Hardware") or known("model name")) or None,
        features=tuple(feature for feature in FEATURES if feature in features),
        cores=_number(told.get("cores")),
        governor=known("governor"),
        memory=(kilobytes := _number(told.get("memory"))) and kilobytes * 1024,
        kernel=f"Linux {told.get('kernel', '')} {machine}",
        free=int(disk[1]) * 1024 if disk else None,
    )


def _after_colon(line: str | None) -> str:
    """The value of a line of /proc/cpuinfo."""
    return (line or "").partition(":")[2].strip()


def _number(text: str | None) -> int | None:
    digits = re.search(r"\d+", text or "")
    return int(digits[0]) if digits else None
