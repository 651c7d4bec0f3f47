"""Phones for tests: Debian's real adbd with Android's shell and tools, in namespaces of their own.

Nothing of it can be reached from outside: the daemons listen in a network namespace, and adb's server, in
there too, is talked to over a socket in a folder of the test's. `scripts/peer_adb` sets the programs up.
"""

import os
import subprocess
import time
from pathlib import Path

import peers

PEER = peers.FOLDER / "adb"
#: A root for ARM64, and the emulator that runs its programs; by scripts/peer_arm.
ARM = peers.FOLDER / "arm"

#: The first process of the namespaces: with it all others end. It runs what is written to it, line by line.
_INIT = r"""
set -eu
root=$1 work=$2 adb=$3 emulator=$4 libraries=/$(cd "$1" && echo usr/lib/*/android)
mount -t tmpfs tmpfs "$work/mnt"
if [ -n "$emulator" ]; then # of programs for ARM64, in these namespaces alone
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    zeros='\x00\x00\x00\x00\x00\x00\x00\x00' ones='\xff\xff\xff\xff\xff\xff\xff'
    printf '%s' ":arm64:M::\x7fELF\x02\x01\x01$zeros\x00\x02\x00\xb7\x00:$ones\x00$ones\xff\xfe\xff\xff\xff:$emulator:F" \
        >/proc/sys/fs/binfmt_misc/register
fi

# disk NAME BYTES: the root, with an empty /data
disk() {
    mkdir "$work/mnt/$1"
    mount --rbind "$root" "$work/mnt/$1"
    mount --rbind /dev "$work/mnt/$1/dev"
    mount --rbind /sys "$work/mnt/$1/sys"
    mount -t proc proc "$work/mnt/$1/proc"
    mount -t tmpfs -o "size=$2" tmpfs "$work/mnt/$1/data"
    mkdir -p "$work/mnt/$1/data/local/tmp"
}

# start NAME PORT PATH: its daemon
start() {
    chroot "$work/mnt/$1" /system/bin/env -i ADBD_PORT="$2" LD_LIBRARY_PATH="$libraries" PATH="$3" \
        QEMU_CPU=cortex-a76 HOME=/ TMPDIR=/data/local/tmp /usr/lib/android-sdk/platform-tools/adbd >>"$work/$1.log" 2>&1 &
    eval "daemon_$1=$!"
}

disk none 1m
chroot "$work/mnt/none" /system/bin/ifconfig lo up
"$adb" nodaemon server >"$work/server.log" 2>&1 &
while read -r line; do
    eval "$line"
    echo done
done
"""


class Phones:
    """environment: of `adb` and whatever calls it. serials: of the phones by name."""

    #: Out of those that adb looks for emulators at.
    PORTS = {"one": 5755, "two": 5757, "bare": 5759}

    def __init__(self, work: Path, *, arm=False):
        """arm: emulated ones with an ARM64 processor."""
        (work / "mnt").mkdir(parents=True)
        self.work, self.serials = work, {name: f"127.0.0.1:{port}" for name, port in self.PORTS.items()}
        self.environment = {
            "PATH": f"{PEER}{os.pathsep}{os.environ['PATH']}",
            "ADB_SERVER_SOCKET": f"localfilesystem:{work / 'adb.sock'}",
            "HOME": str(work),
        }
        options = ["-r"] * (arm or os.geteuid() != 0)
        arguments = [(ARM if arm else PEER) / "root", work, PEER / "adb", ARM / "qemu-aarch64" if arm else ""]
        self._init = subprocess.Popen(
            ["unshare", *options, "-nmp", "--fork", "--kill-child", "sh", "-c", _INIT, "sh", *arguments],
            env=os.environ | self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open(work / "init.log", "w"),
            text=True,
        )
        self.tell("true")

    def tell(self, line: str) -> None:
        """Run a line of shell in the namespaces, which sees a phone's disk at $work/mnt/NAME.

        Raises RuntimeError where they are gone.
        """
        try:
            self._init.stdin.write(line + "\n")
            self._init.stdin.flush()
        except BrokenPipeError:
            pass
        if self._init.stdout.readline() != "done\n":
            raise RuntimeError((self.work / "init.log").read_text().strip() or "no namespaces here")

    def add(self, name: str, **how) -> str:
        """A phone with room for 128 MB, connected. Returns its serial."""
        self.tell(f"disk {name} 128m")
        self.start(name, **how)
        return self.serials[name]

    def remove(self, name: str) -> None:
        self.signal(name, "KILL")
        self.adb("disconnect", self.serials[name])

    def start(self, name: str, *, path="/system/bin:/usr/bin") -> None:
        """path: where its shell looks for tools."""
        self.adb("disconnect", self.serials[name])  # of a daemon that is gone
        self.tell(f"start {name} {self.PORTS[name]} {path}")
        for _ in range(100):
            if "connected" in self.adb("connect", self.serials[name]).stdout and self.shell(name, "echo up"):
                return
            time.sleep(0.05)
        raise RuntimeError(f"phone {name} does not start: {(self.work / f'{name}.log').read_text()}")

    def signal(self, name: str, signal: str) -> None:
        """To a phone's daemon."""
        self.tell(f"kill -{signal} $daemon_{name}")

    def adb(self, *arguments, timeout=20) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["adb", *map(str, arguments)],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def shell(self, name: str, script: str) -> str:
        return self.adb("-s", self.serials[name], "shell", script).stdout

    def end(self) -> None:
        self._init.kill()
        self._init.wait()
