"""edgecls profile --device on an ARM64 phone: adbd, shell and benchmark tool are the real programs, run by QEMU."""

import json
import os
import platform
import time

import command
import phone
import pytest

from edgecls import artifact

ARM = phone.PEER.parent / "arm"

#: FOLDER DISK PORT: becomes the phone's daemon. ARM64 programs are QEMU's in this user namespace and in no other.
_DAEMON = r"""
set -eu
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
printf %s ":arm64:M::$magic:$mask:$1/qemu-aarch64:F" >/proc/sys/fs/binfmt_misc/register
exec chroot "$2" /system/bin/env -i QEMU_CPU=cortex-a76 ADBD_PORT="$3" PATH=/system/bin:/usr/bin HOME=/ \
    TMPDIR=/data/local/tmp LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu/android \
    /usr/lib/android-sdk/platform-tools/adbd
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def arm_phone(tmp_path_factory):
    """(phones, the serial of the one that is there)"""
    for peer in (phone.PEER, ARM):
        if not (peer / "complete").is_file():
            pytest.skip(f"no ARM64 phone to talk to; run scripts/peer_{peer.name}")
    try:
        phones = phone.Phones(tmp_path_factory.mktemp("phones"))
    except (OSError, RuntimeError) as error:
        pytest.skip(f"no namespaces on this machine: {error}")
    serial = phones.serials["one"]
    phones.tell(f"root={ARM}/root; disk arm 128m")
    (phones.work / "daemon.sh").write_text(_DAEMON)
    daemon = f"unshare -rm sh $work/daemon.sh {ARM} $work/mnt/arm {phones.PORTS['one']}"
    phones.tell(f"{daemon} >>$work/arm.log 2>&1 &")
    end = time.monotonic() + 60
    while "connected" not in phones.adb("connect", serial).stdout:
        if time.monotonic() > end:
            pytest.skip(f"no ARM64 phone on this machine: {(phones.work / 'arm.log').read_text()}")
        time.sleep(0.2)
    yield phones, serial
    phones.end()


def test_the_phone_is_an_arm64_machine(arm_phone):
    phones, serial = arm_phone
    told = phones.adb("-s", serial, "shell", "uname -m; grep -m 1 Features /proc/cpuinfo")
    machine, features = told.stdout.splitlines()
    assert machine == "aarch64" and {"asimd", "asimddp"} <= set(features.split())


def profile(phones, serial, file, tool, folder):
    """(finished command, records of the phone)"""
    done = command.edgecls(
        *("profile", file, "--device", serial, "--benchmark-bin", tool, "--artifacts", folder),
        *("--runs", "5", "--warmup", "1"),
        env=os.environ | phones.environment,
    )
    kept = folder / "profiles.jsonl"
    return done, [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_file_is_measured_by_a_real_tool(arm_phone, cold_export, tmp_path, precision):
    phones, serial = arm_phone
    file = cold_export[0] / "lenet5" / f"lenet5-{precision}.tflite"
    done, (record,) = profile(phones, serial, file, ARM / "litert-benchmark", tmp_path)
    assert done.returncode == 0, done.stderr
    assert record["error"] is None and record["subject"]["sha256"] == artifact.sha256(file)
    timing, device = record["timing"], record["device"]
    assert timing["statistics"]["runs"] == 5 and timing["warmup"]["runs"] == 1
    assert 0 < timing["statistics"]["min_ms"] <= timing["statistics"]["median_ms"] < timing["load_ms"]
    assert "xnnpack" in timing["delegate"].lower()
    assert device["serial"] == serial and device["abis"][0] == "arm64-v8a" and device["tool"].startswith("litert-")
    assert {"asimd", "asimddp"} <= set(record["machine"]["features"])
    assert device["emulated"] and "emulator" in done.stdout, "the time of an emulated phone is marked"
    assert not phones.adb("-s", serial, "shell", "ls /data/local/tmp/edgecls/bench").stdout, "the file is gone"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="its programs are for this machine")
def test_a_tool_for_another_machine_is_refused_before_it_is_sent(arm_phone, cold_export, tmp_path):
    phones, serial = arm_phone
    file, tool = cold_export[0] / "lenet5" / "lenet5-int8.tflite", phone.PEER / "root" / "usr" / "bin" / "toybox"
    done, records = profile(phones, serial, file, tool, tmp_path)
    assert (done.returncode, records) == (2, [])
    assert "toybox is for x86_64" in done.stderr and "arm64-v8a" in done.stderr


def test_what_no_one_understands_is_kept(arm_phone, cold_export, tmp_path):
    phones, serial = arm_phone
    file, tool = cold_export[0] / "lenet5" / "lenet5-int8.tflite", ARM / "root" / "usr" / "bin" / "toybox"
    done, (record,) = profile(phones, serial, file, tool, tmp_path)
    assert done.returncode == 1 and record["timing"] is None
    assert "toybox did not end as it should" in record["error"]
    (log,) = tmp_path.rglob("*.log")
    assert str(log) in record["error"] and "Unknown command" in log.read_text()
