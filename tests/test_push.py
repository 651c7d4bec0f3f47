"""`edgecls push` to real phones as far as adb can tell: Debian's adbd with Android's shell and tools."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import threading
import time

import command
import psutil
import pytest
from made_up import publish

import edgecls
import edgecls.cli
from edgecls.devices import adb
from edgecls.devices.adb import Phone
from edgecls.errors import BadFile, UnknownName, UsageError, WorkFailed
from edgecls.verbs import push as verb

HOME = "/data/local/tmp/edgecls"
LARGE = 48_000_000


@pytest.fixture
def net(tmp_path):
    return publish(tmp_path / "net-int8.tflite", "net", trained=True, labels=("cat", "dog"))


def push(phones, target, *, name="one", **options):
    return verb.push(target, serial=phones.serials[name], **options)


def listing(phones, folder, name="one"):
    return phones.shell(name, f"ls -A {folder}").split()


def test_a_file_goes_with_its_labels_and_its_manifest(phones, net):
    (pushed,) = push(phones, net.path)
    assert (pushed.model, pushed.folder, pushed.error) == ("net", f"{HOME}/net", None)
    names = ["net-int8.tflite", "labels.txt", "net-int8.tflite.json"]
    assert [file.path for file in pushed.files] == [f"{HOME}/net/{name}" for name in names]
    assert all(file.sent for file in pushed.files) and sorted(listing(phones, f"{HOME}/net")) == sorted(names)
    assert phones.shell("one", f"cat {HOME}/net/labels.txt") == "cat\ndog\n"
    for file in pushed.files:
        told = phones.shell("one", f"sha256sum {file.path}; stat -c '%s %a' {file.path}").split()
        assert told == [file.sha256, file.path, str(file.bytes), "644"]
    assert json.loads(phones.shell("one", f"cat {pushed.files[2].path}"))["sha256"] == net.manifest.sha256


def test_what_is_there_is_not_sent_again(phones, net):
    push(phones, net.path)
    before = phones.shell("one", f"stat -c '%i %n' {HOME}/net/*")
    (again,) = push(phones, net.path)
    assert not any(file.sent for file in again.files)
    assert phones.shell("one", f"stat -c '%i %n' {HOME}/net/*") == before
    size = net.path.stat().st_size
    phones.shell("one", f"head -c {size} /dev/zero > {HOME}/net/net-int8.tflite; rm {HOME}/net/labels.txt")
    (mended,) = push(phones, net.path)
    assert [file.sent for file in mended.files] == [True, True, False]
    assert net.manifest.sha256 in phones.shell("one", f"sha256sum {HOME}/net/net-int8.tflite")


def test_every_phone_side_by_side_into_another_folder(phones, net):
    told = []
    pushed = verb.push(
        net.path, everywhere=True, to="/data/local/tmp/else where", on_bytes=lambda *now: told.append(now)
    )
    assert [one.serial for one in pushed] == [phones.serials["one"], phones.serials["two"]]
    for name in ("one", "two"):
        assert len(listing(phones, "'/data/local/tmp/else where/net'", name)) == 3
        mine = [(done, total) for serial, done, total in told if serial == phones.serials[name]]
        total = sum(file.bytes for file in pushed[0].files)
        assert mine[0] == (0, total) and mine[-1] == (total, total) and mine == sorted(mine)


def test_a_phone_that_fails_does_not_keep_the_others_from_it(phones, net):
    phones.tell("mount -o bind,ro $work/mnt/two/data/local $work/mnt/two/data/local")
    phones.tell("mount -o remount,bind,ro $work/mnt/two/data/local")
    try:
        first, second = verb.push(net.path, everywhere=True)
    finally:
        phones.tell("umount $work/mnt/two/data/local")
    assert first.error is None and len(first.files) == 3
    assert str(second.error) == (
        f"cannot write to {HOME}/net on {phones.serials['two']}: Read-only file system; choose another folder with --to"
    )
    assert isinstance(second.error, UsageError)


def test_a_full_phone_keeps_what_it_had(phones, tmp_path):
    folder, small = (
        "/data/small",
        publish(tmp_path / "net-int8.tflite", "net", trained=True, content=bytes(100_000)),
    )
    phones.tell(
        "mkdir -p $work/mnt/one/data/small && mount -t tmpfs -o size=300k tmpfs $work/mnt/one/data/small"
    )
    try:
        push(phones, small.path, to=folder)
        before = phones.shell("one", f"cd {folder}/net; sha256sum *")
        large = publish(tmp_path / "net-int8.tflite", "net", trained=True, content=os.urandom(250_000))
        (pushed,) = push(phones, large.path, to=folder)
        assert (
            phones.shell("one", f"cd {folder}/net; sha256sum *") == before
            and len(listing(phones, f"{folder}/net")) == 2
        )
    finally:
        phones.tell("umount $work/mnt/one/data/small")
    assert isinstance(pushed.error, WorkFailed)
    assert f"{phones.serials['one']} is full: no space left for net-int8.tflite (0.25 MB); make room" in str(
        pushed.error
    )


def test_a_phone_that_goes_in_the_middle_keeps_what_it_had_and_the_call_can_be_repeated(phones, tmp_path):
    push(phones, publish(tmp_path / "net-int8.tflite", "net", trained=True).path)
    large = publish(tmp_path / "net-int8.tflite", "net", trained=True, content=os.urandom(LARGE))
    before = phones.shell("one", f"cd {HOME}/net; sha256sum *")
    results = []
    work = threading.Thread(target=lambda: results.append(push(phones, large.path)))
    work.start()
    _wait_for_a_part(phones)
    phones.signal("one", "KILL")
    work.join(20)
    phones.start("one")
    ((lost,),) = results
    assert isinstance(lost.error, WorkFailed)
    assert f"lost the connection to {phones.serials['one']} (" in str(lost.error)
    assert "plug it in again, and repeat the call" in str(lost.error)
    assert phones.shell("one", f"cd {HOME}/net; sha256sum *") == before
    (pushed,) = push(phones, large.path)
    assert pushed.error is None and large.manifest.sha256 in phones.shell(
        "one", f"sha256sum {HOME}/net/net-int8.tflite"
    )


def test_ctrl_c_leaves_nothing_half_there_and_no_adb(phones, tmp_path):
    large = publish(tmp_path / "net-int8.tflite", "net", trained=True, content=os.urandom(LARGE))
    words = command.line("push", large.path, "--serial", phones.serials["one"])
    child = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    _wait_for_a_part(phones)
    phones.signal("one", "STOP")  # amid the transfer
    os.kill(child.pid, signal.SIGINT)
    time.sleep(0.3)
    phones.signal("one", "CONT")
    out, err = child.communicate(timeout=20)
    assert (child.returncode, out, err) == (130, "", "edgecls: interrupted\n")
    assert _processes_of(child.pid) == [] and listing(phones, f"{HOME}/net") == []


def _wait_for_a_part(phones):
    """Until a megabyte of a file is on phone one."""
    phones.tell(
        'i=0; until [ $i = 20000 ] || [ "$(stat -c %s $work/mnt/one/data/local/tmp/edgecls/net/.net*.partial '
        '2>/dev/null || echo 0)" -gt 1000000 ]; do i=$((i + 1)); done'
    )


def _processes_of(session: int) -> list[str]:
    """Names of what a session left behind."""
    left = []
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(process.pid) == session:
                left.append(process.info["name"])
    return left


def test_a_phone_that_stands_still_is_given_up(phones, net, monkeypatch):
    monkeypatch.setattr(adb, "ANSWER_SECONDS", 0.5)
    phones.signal("one", "STOP")
    try:
        (pushed,) = push(phones, net.path)
    finally:
        phones.signal("one", "CONT")
    assert f"{phones.serials['one']} does not answer (0 s); unlock it, plug it in again" in str(pushed.error)


def test_a_phone_that_is_offline_is_named(phones, net):
    serial = phones.serials["two"]
    phones.signal("two", "STOP")  # the connection is taken, but nobody answers
    phones.adb("disconnect", serial)
    with subprocess.Popen(["adb", "connect", serial], stdout=subprocess.DEVNULL):
        try:
            while serial not in phones.adb("devices").stdout:
                time.sleep(0.05)
            notes = []
            (only,) = verb.push(net.path, everywhere=True, on_note=notes.append)
            with pytest.raises(
                UsageError, match=f"^{serial} is offline: plug it in again, or run `adb reconnect"
            ):
                push(phones, net.path, name="two")
        finally:
            phones.signal("two", "CONT")
    assert only.serial == phones.serials["one"] and notes[0].endswith("; it is left out")


@pytest.mark.parametrize(
    "path", ["/system/bin:/usr/bin", "/system/bin"], ids=["toybox without a link", "no tool at all"]
)
def test_a_phone_without_sha256sum(phones, net, path):
    phones.tell('[ -d "$work/mnt/bare" ] || disk bare 16m')
    phones.tell("mount -t tmpfs tmpfs $work/mnt/bare/system/bin")
    phones.tell(
        'for tool in $(ls "$root/system/bin"); do ln -sf /usr/bin/toybox $work/mnt/bare/system/bin/$tool; done'
    )
    phones.tell("rm $work/mnt/bare/system/bin/sha256sum")
    phones.start("bare", path=path)
    try:
        (pushed,) = push(phones, net.path, name="bare")
        (again,) = push(phones, net.path, name="bare")
        phones.shell("bare", f"rm -r {HOME}")
    finally:
        phones.remove("bare")
    assert (
        pushed.error is None
        and [file.sent for file in pushed.files + again.files] == [True] * 3 + [False] * 3
    )


def test_what_arrives_damaged_takes_no_place(phones, net, monkeypatch):
    send = Phone.push

    def damage(phone, source, target, **options):
        complaint = send(phone, source, target, **options)
        phone.shell(f"echo >> {target}")
        return complaint

    monkeypatch.setattr(Phone, "push", damage)
    (pushed,) = push(phones, net.path)
    assert "net-int8.tflite arrived damaged on" in str(pushed.error) and listing(phones, f"{HOME}/net") == []


def test_a_folder_in_a_file_s_place_is_named(phones, net):
    phones.shell("one", f"mkdir -p {HOME}/net/labels.txt")
    (pushed,) = push(phones, net.path)
    path = f"{HOME}/net/labels.txt"
    assert f"has a folder where a file belongs: {path}; remove it with `adb shell rm -r {path}`" in str(
        pushed.error
    )


def test_parts_of_a_transfer_cut_off_long_ago_are_removed(phones, net):
    phones.shell(
        "one",
        f"mkdir -p {HOME}/net; cd {HOME}/net; touch -d 2020-01-01T00:00:00 .old.partial; touch .new.partial",
    )
    push(phones, net.path)
    assert {".old.partial", ".new.partial"} & set(listing(phones, f"{HOME}/net")) == {".new.partial"}


def test_what_is_missing_of_a_name_is_exported_of_the_weights_of_its_neighbour(phones, tmp_path, monkeypatch):
    calls = []

    def export(names, *, formats, precisions, weights, out, on_note):
        calls.append((names, formats, precisions, weights))
        for precision in precisions:
            publish(out / names[0] / f"{names[0]}-{precision}.tflite", names[0])

    module = type(edgecls)("edgecls.verbs.export")
    module.export = export
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    notes = []
    (pushed,) = push(phones, "lenet5", artifacts=tmp_path, on_note=notes.append)
    assert calls == [(["lenet5"], ["tflite"], ["int8"], "auto")] and pushed.folder == f"{HOME}/lenet5"
    assert notes[0] == f"export lenet5 to {tmp_path}/lenet5/lenet5-int8.tflite"
    assert notes[1].startswith("lenet5-int8.tflite is untrained: random weights of seed ")
    push(phones, "lenet5", artifacts=tmp_path, recipes=["int8", "fp32"])
    assert calls[1:] == [(["lenet5"], ["tflite"], ["fp32"], "random")]
    push(phones, "lenet5", artifacts=tmp_path, recipes=["int8", "fp32"])
    assert len(calls) == 2


def test_a_file_that_is_not_what_its_model_computes_is_told(phones, tmp_path):
    notes = []
    broken = publish(tmp_path / "net-int8.tflite", "net", trained=True, passed=False)
    push(phones, broken.path, on_note=notes.append)
    assert notes == ["net-int8.tflite does not agree with its float model: "]


def test_two_files_for_one_place_are_refused(phones, net, tmp_path):
    other = publish(tmp_path / "net-fp32.tflite", "net", trained=True, labels=("dog", "cat"))
    with pytest.raises(
        UsageError, match="two files of net bring different labels.txt; push one of them elsewhere"
    ):
        push(phones, [net.path, other.path])
    assert listing(phones, "/data/local/tmp") == []


@pytest.mark.parametrize(
    ("target", "options", "error", "message"),
    [
        (
            "plain.tflite",
            {},
            BadFile,
            "plain.tflite has no manifest beside it; let `edgecls export plain.tflite` make",
        ),
        ("nowhere.tflite", {}, BadFile, "no file 'nowhere.tflite'"),
        ("folder", {}, BadFile, "'folder' is a folder; name a file, such as folder/net-int8.tflite"),
        ("folder.onnx", {}, BadFile, "'folder.onnx' is a folder; name a file$"),
        ("notes.txt", {}, UsageError, "no runtime for 'notes.txt'"),
        ("mobilenet_v9", {}, UnknownName, "unknown architecture 'mobilenet_v9'"),
        ("lenet5", {"recipes": ["int9"]}, UnknownName, "unknown recipe 'int9'; did you mean int8"),
        ("lenet5", {"recipes": ["int8-dynamic"]}, UsageError, "no int8-dynamic for .tflite"),
        (
            "lenet5",
            {"to": "tmp"},
            UsageError,
            "--to must be a folder of the phone from its root on, .*got 'tmp'",
        ),
        (
            "lenet5",
            {"everywhere": True, "serial": "x"},
            UsageError,
            "--serial names one phone, --all means every one",
        ),
        ("lenet5", {"serial": "nobody"}, UsageError, "no phone 'nobody'; there are 127.0.0.1:"),
        (
            "lenet5",
            {},
            UsageError,
            "2 phones are ready: 127.0.0.1:5755, 127.0.0.1:5757; name one with --serial",
        ),
    ],
)
def test_a_wrong_call_is_refused_before_any_work(
    phones, tmp_path, monkeypatch, target, options, error, message
):
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "folder" / "net-int8.tflite", "net")
    for name in ("plain.tflite", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(error, match=message):
        verb.push(target, **options)


def run(capsys, monkeypatch, *words):
    """(exit code, stdout, stderr) of the command."""
    monkeypatch.setattr("sys.argv", ["edgecls", "push", *map(str, words)])
    with pytest.raises(SystemExit) as exit:
        edgecls.cli.main()
    return exit.value.code, *capsys.readouterr()


def test_the_command_prints_what_is_where(phones, tmp_path, capsys, monkeypatch):
    untrained = publish(tmp_path / "net-int8.tflite", "net", labels=("cat",))
    serial = phones.serials["one"]
    code, out, err = run(capsys, monkeypatch, untrained.path, "--serial", serial)
    header, *rows = map(str.split, out.splitlines())
    assert code == 0 and header == ["phone", "file", "MB"]
    assert rows[0][:2] == [serial, f"{HOME}/net/net-int8.tflite"] and [row[3] for row in rows] == ["sent"] * 3
    assert err.startswith("note: net-int8.tflite is untrained: ") and len(err.splitlines()) == 1
    code, out, err = run(capsys, monkeypatch, untrained.path, "--serial", serial, "--json")
    (record,) = json.loads(out)
    assert code == 0 and record["error"] is None and [file["sent"] for file in record["files"]] == [False] * 3
    assert record["files"][0]["sha256"] == hashlib.sha256(untrained.path.read_bytes()).hexdigest()


def test_the_command_says_what_failed_in_one_line_and_its_exit_code(phones, net, capsys, monkeypatch):
    serial = phones.serials["one"]
    code, out, err = run(capsys, monkeypatch, net.path, "--serial", serial, "--to", "/proc")
    assert (code, out) == (2, "") and err.startswith(f"edgecls: cannot write to /proc/net on {serial}: ")
    assert len(err.splitlines()) == 1
    code, out, err = run(capsys, monkeypatch, net.path, "--all", "--to", "/proc", "--json")
    assert code == 1 and all("cannot write to /proc/net" in one["error"] for one in json.loads(out))
    assert err.splitlines()[-1] == "edgecls: 2 of 2 transfers failed"
