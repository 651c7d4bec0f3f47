"""`profile --device` on real phones as far as adb can tell, and what reports make of a phone's figures."""

import json
import shutil

import benchmark_outputs as outputs
import made_up
import phone
import pytest
import tiny
from made_up import timing

import edgecls.cli
from edgecls import reports
from edgecls.devices import tools
from edgecls.devices.adb import Phone
from edgecls.errors import BadFile, UnknownName, UsageError
from edgecls.profiling import Condition, Device, Statistics
from edgecls.profiling.store import Store
from edgecls.verbs import profile as verb


@pytest.fixture
def wrong_tool(tmp_path):
    """A program of the phone's that measures nothing."""
    return shutil.copy(phone.PEER / "root" / "usr" / "bin" / "toybox", tmp_path / "benchmark_model")


def test_output_that_nobody_understands_is_kept_and_named(phones, tmp_path, wrong_tool):
    path = tiny.save_tflite(tmp_path / "net.tflite")
    serial = phones.serials["one"]
    (failed,) = verb.profile(
        path, device=serial, benchmark_bin=wrong_tool, cool_seconds=0, artifacts=tmp_path / "kept"
    )
    (log,) = (tmp_path / "kept" / "logs").iterdir()
    assert (
        failed.error.startswith("benchmark_model did not end as it should: exit code ")
        and str(log) in failed.error
    )
    assert (
        "Unknown command /data/local/tmp/edgecls/benchmark_model" in log.read_text()
        and log.name.startswith("net.tflite-127.0.0.1_5755-")
    )
    assert failed.timing is None and failed.device.serial == serial and failed.device.after is None
    assert failed.runtime_version.startswith("benchmark_model ") and not failed.emulated
    assert Store(tmp_path / "kept").read() == ([failed], [])
    there = phones.shell("one", "ls /data/local/tmp/edgecls /data/local/tmp/edgecls/bench").split()
    assert "benchmark_model" in there and "net.tflite" not in there and "pid" not in there


def test_a_measurement_that_is_interrupted_ends_on_the_phone_too(phones, tmp_path, wrong_tool, monkeypatch):
    monkeypatch.setattr(
        tools.Tool, "arguments", lambda *_: ["sleep", "60"]
    )  # which toybox can, by its own name
    wrong_tool = wrong_tool.rename(tmp_path / "toybox")
    path = tiny.save_tflite(tmp_path / "net.tflite")
    shell = Phone.shell

    def interrupted(self, script, **options):
        if "wait $!" not in script:
            return shell(self, script, **options)
        monkeypatch.setattr(Phone, "shell", shell)
        return self.shell(script, seconds=1.0)

    monkeypatch.setattr(Phone, "shell", interrupted)
    (failed,) = verb.profile(
        path,
        device=phones.serials["one"],
        benchmark_bin=wrong_tool,
        cool_seconds=0,
        artifacts=tmp_path / "kept",
    )
    assert "does not answer (1 s)" in failed.error
    look = "ps -A -o ARGS | grep '[s]leep 60'"
    assert phones.shell("one", look) == ""
    assert "sleep 60" in phones.shell("one", f"sleep 60 & {look}; kill $!")


@pytest.mark.parametrize(
    ("delegate", "error"),
    [("gpu", "it does not know --use_gpu=true, which --delegate gpu"), ("xnnpack", None)],
)
def test_a_flag_that_the_tool_does_not_know_is_told(
    phones, tmp_path, wrong_tool, monkeypatch, delegate, error
):
    printed = tmp_path / "printed"
    printed.write_text(f"STARTING!\nUnconsumed cmdline flags: --use_{delegate}=true\n" + outputs.OF_2020)
    phones.adb("-s", phones.serials["one"], "push", printed, "/data/local/tmp/printed")
    monkeypatch.setattr(tools.Tool, "arguments", lambda *_: ["cat", "/data/local/tmp/printed"])
    notes = []
    call = {
        "device": phones.serials["one"],
        "cool_seconds": 0,
        "artifacts": tmp_path / "kept",
        "on_note": notes.append,
    }
    path, tool = tiny.save_tflite(tmp_path / "net.tflite"), wrong_tool.rename(tmp_path / "toybox")
    (one,) = verb.profile(path, benchmark_bin=tool, delegate=delegate, **call)
    if error:
        assert error in one.error
    else:
        assert one.error is None and one.timing.median_ms == pytest.approx(33.2094) and one.timing.mean_only
        assert "toybox does not know --use_xnnpack=true and went on without" in notes
        assert "to compare with this computer, measure here too, with as many threads: net.tflite" in notes


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"benchmark_bin": None}, UsageError, "--device needs --benchmark-bin, your copy of benchmark_model"),
        ({"benchmark_bin": "nowhere"}, BadFile, "no file 'nowhere'"),
        ({"benchmark_bin": "net.tflite"}, BadFile, "net.tflite is no program of Android or Linux"),
        (
            {"benchmark_bin": "arm"},
            UsageError,
            r"arm is for riscv64, but 127.0.0.1:5755 runs \w+.*; take the one for",
        ),
        ({"delegate": "npu"}, UnknownName, "unknown delegate 'npu'; did you mean gpu"),
        ({"cool_seconds": -1}, UsageError, "--cool must be at least 0, got -1"),
        ({"device": "nobody"}, UsageError, "no phone 'nobody'; there are 127.0.0.1:5755"),
        ({"device": True}, UsageError, "2 phones are ready: 127.0.0.1:5755"),
        ({"runtimes": ["ort"]}, UsageError, "on a phone litert alone is measured, got --runtime ort"),
        ({"targets": "net.onnx"}, UsageError, "net.onnx runs in ort, but --runtime is litert"),
    ],
)
def test_a_wrong_call_is_refused(phones, tmp_path, monkeypatch, wrong_tool, options, error, message):
    monkeypatch.chdir(tmp_path)
    tiny.save_tflite(tmp_path / "net.tflite")
    tiny.save_onnx(tmp_path / "net.onnx")
    elf = wrong_tool.read_bytes()
    (tmp_path / "arm").write_bytes(elf[:18] + b"\xf3\x00" + elf[20:])
    call = {
        "targets": "net.tflite",
        "device": phones.serials["one"],
        "benchmark_bin": wrong_tool,
        "cool_seconds": 0,
    }
    with pytest.raises(error, match=message):
        verb.profile(**(call | options))
    assert not (tmp_path / "artifacts").exists()


def run(capsys, monkeypatch, *words):
    """(exit code, stdout, stderr) of the command."""
    monkeypatch.setattr("sys.argv", ["edgecls", "profile", *map(str, words)])
    with pytest.raises(SystemExit) as exit:
        edgecls.cli.main()
    return exit.value.code, *capsys.readouterr()


def test_the_command_takes_a_serial_among_the_names(phones, tmp_path, capsys, monkeypatch, wrong_tool):
    monkeypatch.chdir(tmp_path)
    tiny.save_tflite(tmp_path / "net.tflite")
    tool = ("--benchmark-bin", wrong_tool, "--cool", 0)
    code, out, err = run(
        capsys, monkeypatch, "--device", phones.serials["two"], "net.tflite", *tool, "--format", "json"
    )
    (record,) = json.loads(out)
    assert code == 1 and record["device"]["serial"] == phones.serials["two"] and record["error"] in err
    code, out, err = run(capsys, monkeypatch, "--device", *phones.serials.values(), "net.tflite", *tool)
    assert code == 2 and "one phone at a time is measured on, got 127.0.0.1:5755, 127.0.0.1:5757" in err
    for option in (("--cool", 1), ("--delegate", "gpu"), ("--benchmark-bin", "x")):
        code, out, err = run(capsys, monkeypatch, "net.tflite", *option)
        assert code == 2 and err == f"edgecls: {option[0]} is for phones; add --device\n"


def on_phone(
    ms, *, model="Pixel 6", emulated=False, median=True, std=0.01, thermal="none", delegate=None, **changed
):
    """A measurement on a phone."""
    calm = Condition(thermal=thermal, celsius=30.0, battery=80, charging=True)
    device = Device(
        serial="1A2B", model=model, soc="Tensor", abis=("arm64-v8a",), android="14", emulated=emulated, tool="tool 1",
        before=calm, after=calm,
    )  # fmt: skip
    statistics = Statistics(runs=50, mean_ms=ms, std_ms=std * ms, median_ms=ms if median else None)
    measured = timing(()).__class__(
        options={}, delegation=None, load_ms=1.0, first_ms=2.0, statistics=statistics, delegate=delegate
    )
    return made_up.profile(device=device, timing=measured, busy_cores=None, **changed)


def test_a_phone_stands_beside_this_computer_with_the_ratio():
    profiles = [
        *(on_phone(6.0, precision="fp32"), on_phone(4.0, precision="int8", megabytes=1)),
        *(made_up.profile(ms=2.0), made_up.profile(ms=1.0, precision="int8", megabytes=1)),
    ]
    lines = reports.render(profiles, "table").splitlines()
    cells = [
        (line[lines[0].index("on ") :][:8].strip(), line[lines[0].index("precision") :].split()[0])
        for line in lines[1:5]
    ]
    assert cells == [("-", "fp32"), ("Pixel 6", "fp32"), ("-", "int8"), ("Pixel 6", "int8")]
    summary = reports.summary_lines(profiles)
    assert "int8 against fp32: 2.00x faster, files 4.00x smaller" in summary
    assert "Pixel 6: int8 against fp32: 1.50x faster, files 4.00x smaller" in summary
    assert summary[-1] == (
        "Pixel 6 takes 3.46x the time of this computer (geometric mean of 2; 3.00x, tinynet fp32 to 4.00x, tinynet int8)"
    )


def test_only_the_same_file_with_as_many_threads_is_compared():
    four = made_up.Settings(threads=4)
    others = [made_up.profile("othernet"), made_up.profile(settings=four), made_up.profile(runtime="ort")]
    assert not any("this computer" in line for line in reports.summary_lines([on_phone(6.0), *others]))
    assert (
        reports.summary_lines([on_phone(6.0), made_up.profile()])[-1]
        == "Pixel 6 takes 3.00x the time of this computer"
    )


def test_what_an_emulator_ran_is_marked_and_compared_with_nothing():
    emulated = [on_phone(60.0, emulated=True), on_phone(20.0, emulated=True, precision="int8", megabytes=1)]
    profiles = [*emulated, made_up.profile()]
    assert reports.summary_lines(profiles) == [] and emulated[0].gmacs_per_s is None
    table = reports.render(profiles, "table")
    assert table.splitlines()[2].count(" e ") + table.splitlines()[2].endswith(" e") == 1
    assert "e run by an emulator: no phone's time, and compared with nothing" in table
    assert "e run by" not in reports.render([on_phone(6.0), made_up.profile()], "table")


def test_a_mean_is_not_called_a_median():
    table = reports.render([on_phone(6.0, median=False)], "table")
    assert "6.00  m" in table and "m the mean: this benchmark tool tells no median" in table
    assert "m the mean" not in reports.render([on_phone(6.0)], "table")


def test_a_phone_that_was_hot_or_noisy_or_did_without_its_delegate_is_told():
    assert on_phone(6.0).warnings == ()
    assert on_phone(6.0, std=0.2).warnings == (
        "the runs' standard deviation is 20% of their mean; measure again with more --runs",
    )
    hot = on_phone(6.0, thermal="severe").warnings
    assert hot[0] == "the phone was throttled for heat (severe) before it; let it cool, see --cool"
    refused = on_phone(6.0, delegate="the model graph will not be executed by the delegate")
    assert refused.warnings == ("the delegate took nothing: these are times of the CPU",)


def test_a_record_of_a_phone_is_read_back(tmp_path):
    store = Store(tmp_path)
    store.append(on_phone(6.0, median=False))
    assert store.read() == ([on_phone(6.0, median=False)], [])


def test_profiles_of_another_schema_are_told_before_any_work(phones, tmp_path, wrong_tool):
    path = tiny.save_tflite(tmp_path / "net.tflite")
    old = json.dumps(made_up.profile().to_json() | {"schema": 2})
    (tmp_path / "profiles.jsonl").write_text(old + "\n")
    with pytest.raises(
        BadFile, match="schema 2 is not 3; use the edgecls that wrote it, or another folder with --artifacts"
    ):
        verb.profile(path, device=phones.serials["one"], benchmark_bin=wrong_tool, artifacts=tmp_path)
    assert (tmp_path / "profiles.jsonl").read_text() == old + "\n"


def test_what_this_computer_measured_of_the_same_file_last_is_brought(tmp_path):
    store = Store(tmp_path)
    for ms in (2.0, 3.0):
        store.append(made_up.profile(ms=ms))
    store.append(made_up.profile(error="failed"))
    notes = []
    (here,) = verb._measured_here([on_phone(6.0), on_phone(9.0, precision="int8")], store, notes.append)
    assert here.timing.median_ms == 3.0
    assert notes == [
        "to compare with this computer, measure here too, with as many threads: tinynet-int8.tflite"
    ]
    assert verb._measured_here([on_phone(6.0, emulated=True)], store, notes.append) == []
