"""edgecls profile --device on an ARM64 phone: adbd, shell and benchmark tool are the real programs, run by QEMU."""

import json
import os
import platform

import command
import phone
import pytest

from edgecls import artifact

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def arm_phone(tmp_path_factory):
    """(phones, the serial of the one that is there)"""
    for peer in (phone.PEER, phone.ARM):
        if not (peer / "complete").is_file():
            pytest.skip(f"no ARM64 phone to talk to; run scripts/peer_{peer.name}")
    try:
        phones = phone.Phones(tmp_path_factory.mktemp("phones"), arm=True)
    except (OSError, RuntimeError) as error:
        pytest.skip(f"no namespaces with an emulator on this machine: {error}")
    serial = phones.add("one")
    yield phones, serial
    phones.end()


def test_the_phone_is_an_arm64_machine(arm_phone):
    phones, serial = arm_phone
    told = phones.adb("-s", serial, "shell", "uname -m; grep -m 1 Features /proc/cpuinfo")
    machine, features = told.stdout.splitlines()
    assert machine == "aarch64" and {"asimd", "asimddp"} <= set(features.split())
    done = command.edgecls("devices", "--json", env=os.environ | phones.environment)
    (record,) = json.loads(done.stdout)
    assert record["facts"]["virtual"] and record["facts"]["abis"] == ["arm64-v8a", "armeabi-v7a"]


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
    done, (record,) = profile(phones, serial, file, phone.ARM / "litert-benchmark", tmp_path)
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
    file, tool = cold_export[0] / "lenet5" / "lenet5-int8.tflite", phone.ARM / "root" / "usr" / "bin" / "toybox"
    done, (record,) = profile(phones, serial, file, tool, tmp_path)
    assert done.returncode == 1 and record["timing"] is None
    assert "toybox did not end as it should" in record["error"]
    (log,) = tmp_path.rglob("*.log")
    assert str(log) in record["error"] and "Unknown command" in log.read_text()
