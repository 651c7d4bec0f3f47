"""`edgecls devices`, and how a phone is chosen: by real adb, and by what it is known to print of others."""

import json

import pytest

import edgecls.cli
from edgecls.devices import adb, facts
from edgecls.devices.adb import Listed
from edgecls.errors import UsageError, WorkFailed

#: As AOSP's own documents and users show them: developer.android.com/tools/adb (Nexus 6P, emulator), the change that
#: brought the words on permissions (platform/system/core d2acbd19), a serial that is not there.
LISTED = """\
* daemon not running; starting now at tcp:5037
* daemon started successfully
List of devices attached
84B7N16102000099       device usb:1-4 product:angler model:Nexus_6P device:angler transport_id:1
0a388e93               unauthorized usb:1-1 transport_id:5
emulator-5554          offline transport_id:3
082f59270073e1e3       no permissions (verify udev rules); see [http://developer.android.com/tools/device.html] usb:3-2 transport_id:7
192.168.0.17:5555      device product:oriole model:Pixel_6 device:oriole transport_id:9
(no serial number)     device usb:1-2 product:x model:y device:z transport_id:2

"""


def test_every_state_that_adb_lists_is_read():
    found = adb.parse_list(LISTED)
    assert [(one.serial, one.state, one.model) for one in found] == [
        ("84B7N16102000099", "device", "Nexus_6P"),
        ("0a388e93", "unauthorized", None),
        ("emulator-5554", "offline", None),
        (
            "082f59270073e1e3",
            "no permissions (verify udev rules); see [http://developer.android.com/tools/device.html]",
            None,
        ),
        ("192.168.0.17:5555", "device", "Pixel_6"),
        ("(no serial number)", "device", "y"),
    ]
    assert [one.ready for one in found] == [True, False, False, False, True, True]
    assert [one.way_out and one.way_out.split()[0] for one in found] == [
        None,
        "unlock",
        "plug",
        "this",
        None,
        None,
    ]


def test_a_phone_that_is_about_to_connect_is_waited_for(monkeypatch):
    states = iter(["connecting", "authorizing", "device"])
    answers = (adb.Answer(0, f"List of devices attached\na  {state}\n".encode(), "") for state in states)
    monkeypatch.setattr(adb, "call", lambda *_: next(answers))
    assert [one.state for one in adb.listed()] == ["device"]
    monkeypatch.setattr(adb, "_PASSING_SECONDS", 0.2)
    monkeypatch.setattr(
        adb, "call", lambda *_: adb.Answer(0, b"List of devices attached\na  authorizing\n", "")
    )
    assert [one.way_out for one in adb.listed()] == ["unlock it and allow USB debugging for this computer"]


def test_a_server_that_stands_still_is_told(monkeypatch):
    def late(*_):
        raise TimeoutError("20 s")

    monkeypatch.setattr(adb, "call", late)
    with pytest.raises(WorkFailed, match=r"adb itself does not answer \(20 s\); run `adb kill-server`"):
        adb.listed()


def test_what_is_no_list_is_an_error():
    with pytest.raises(
        WorkFailed, match="does not list devices: error: protocol fault; try `adb kill-server`"
    ):
        adb.parse_list("error: protocol fault\n")


@pytest.mark.parametrize(
    ("found", "serial", "message"),
    [
        ([], None, "no phone is connected; plug one in and enable USB debugging"),
        ([], "mine", "no phone 'mine'; there is none; plug one in"),
        (["a device"], "mine", "no phone 'mine'; there are a$"),
        (["a device", "b device"], None, "2 phones are ready: a, b; name one with --serial, or take --all"),
        (["a unauthorized"], None, "a is unauthorized: unlock it and allow USB debugging"),
        (["a unauthorized", "b device"], "a", "a is unauthorized: unlock it and allow USB debugging"),
        (
            ["a offline", "b unauthorized"],
            None,
            "a is offline: plug it in again.*; b is unauthorized: unlock",
        ),
    ],
)
def test_a_phone_that_cannot_be_taken_is_one_line_with_the_way_out(monkeypatch, found, serial, message):
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    monkeypatch.setattr(adb, "listed", lambda: [Listed(serial=s, state=t) for s, t in map(str.split, found)])
    with pytest.raises(UsageError, match=message):
        adb.choose(serial)


def test_the_phone_that_is_ready_or_named_is_taken(monkeypatch):
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    known = [Listed(serial="a", state="unauthorized"), Listed(serial="b", state="device")]
    monkeypatch.setattr(adb, "listed", lambda: known)
    assert adb.choose() == adb.choose("b") == known[1]
    known.append(Listed(serial="c", state="device"))
    monkeypatch.setenv("ANDROID_SERIAL", "c")
    assert adb.choose().serial == "c" and adb.choose("b").serial == "b"
    ready, notes = adb.all_ready()
    assert [one.serial for one in ready] == ["b", "c"] and notes[0].startswith("a is unauthorized: unlock it")


#: Properties of a Nexus 6P (P1sec/QCSuper issue 24) with its kernel's words; of an LG X230 (a build.prop in
#: LineageOS/android_device_lge_v20-common pull request 2); of Android's emulator on a PC.
NEXUS_6P = """\
ro.product.manufacturer=Huawei
ro.product.model=Nexus 6P
ro.soc.model=
ro.board.platform=msm8994
ro.hardware=angler
ro.build.version.release=8.1.0
ro.build.version.sdk=27
ro.product.cpu.abilist=arm64-v8a,armeabi-v7a,armeabi
ro.kernel.qemu=
kernel=3.10.73
machine=aarch64
cores=8
governor=interactive
memory=MemTotal:        2894504 kB
model name=
Hardware=Hardware	: Qualcomm Technologies, Inc MSM8994
flags=
Features=Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32
disk=/dev/block/dm-1     25937616 9876543  16061073  39% /data
"""
LG_X230 = """\
ro.product.manufacturer=LG Electronics
ro.product.model=LG-X230
ro.board.platform=mt6737m
ro.build.version.release=6.0
ro.build.version.sdk=23
ro.product.cpu.abilist=armeabi-v7a,armeabi
machine=armv7l
"""


def test_what_phones_tell_of_themselves():
    told = facts.parse(NEXUS_6P)
    assert (told.model, told.soc, told.android, told.api) == ("Huawei Nexus 6P", "msm8994", "8.1.0", 27)
    assert told.abis == ("arm64-v8a", "armeabi-v7a", "armeabi") and told.governor == "interactive"
    assert (told.cpu, told.features, told.cores) == ("Qualcomm Technologies, Inc MSM8994", ("asimd",), 8)
    assert (told.memory, told.free, told.kernel) == (2894504 * 1024, 16061073 * 1024, "Linux 3.10.73 aarch64")
    assert not told.virtual
    old = facts.parse(LG_X230)
    assert (old.abis, old.cpu, old.free, old.governor) == (("armeabi-v7a", "armeabi"), None, None, None)
    assert facts.parse("machine=aarch64\n").abis == ("arm64-v8a", "armeabi-v7a")


@pytest.mark.parametrize(
    "sign", ["ro.kernel.qemu=1", "ro.boot.qemu=1", "ro.hardware=ranchu", "Hardware=x : QEMU Virtual CPU"]
)
def test_an_emulator_is_recognised(sign):
    assert facts.parse(sign + "\n").virtual


def run(capsys, monkeypatch, *words):
    """(exit code, stdout, stderr) of the command."""
    monkeypatch.setattr("sys.argv", ["edgecls", *map(str, words)])
    with pytest.raises(SystemExit) as exit:
        edgecls.cli.main()
    return exit.value.code, *capsys.readouterr()


def test_no_adb_is_one_line_that_says_how_to_get_it(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    monkeypatch.delenv("ANDROID_SDK_ROOT", raising=False)
    for words in (["devices"], ["push", "lenet5"]):
        code, out, err = run(capsys, monkeypatch, *words)
        assert (code, out) == (2, "") and len(err.splitlines()) == 1
        assert (
            "no adb on PATH; install" in err
            and "apt install adb" in err
            and "brew" in err
            and "winget" in err
        )
    sdk = tmp_path / "sdk" / "platform-tools"
    sdk.mkdir(parents=True)
    (sdk / "adb").touch(mode=0o755)
    monkeypatch.setenv("ANDROID_HOME", str(sdk.parent))
    assert adb.command() == str(sdk / "adb")


def test_real_phones_are_listed(phones, capsys, monkeypatch):
    code, out, err = run(capsys, monkeypatch, "devices", "--json")
    records = json.loads(out)
    assert (
        code == 0
        and err == ""
        and [one["serial"] for one in records] == [phones.serials[n] for n in ("one", "two")]
    )
    for record in records:
        assert record["ready"] and record["way_out"] is None
        assert (
            record["facts"]["abis"] and record["facts"]["free"] > 50e6 and record["facts"]["android"] is None
        )
    code, out, err = run(capsys, monkeypatch, "devices")
    assert code == 0 and err == "" and out.splitlines()[1].split()[:2] == [phones.serials["one"], "ready"]


def test_a_phone_that_stands_still_is_noted(phones, capsys, monkeypatch):
    monkeypatch.setattr(adb, "ANSWER_SECONDS", 0.5)
    phones.signal("two", "STOP")
    try:
        code, out, err = run(capsys, monkeypatch, "devices")
    finally:
        phones.signal("two", "CONT")
    assert code == 0 and [line.split()[1] for line in out.splitlines()[1:]] == ["ready", "ready"]
    assert f"note: {phones.serials['two']} does not answer (0 s); unlock it, plug it in again" in err
