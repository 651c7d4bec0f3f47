"""What benchmark tools on phones are asked, and what is read from what they have really printed."""

import dataclasses
import struct

import benchmark_outputs as outputs
import pytest

from edgecls.devices import tools
from edgecls.devices.benchmark import cooled, is_warm, parse_condition
from edgecls.devices.tools import Tool
from edgecls.errors import BadFile, UnknownName, UsageError
from edgecls.profiling import Condition, Settings

CLASSIC = [
    outputs.OF_2019,
    outputs.OF_2020,
    outputs.ON_A_GPU,
    outputs.IN_THE_LOG,
    outputs.LONG_RUNS,
    outputs.WITH_PERCENTILES,
]


@pytest.mark.parametrize(
    ("printed", "load", "first", "runs", "mean", "median"),
    [
        (outputs.OF_2019, 9.933, None, 15, 66.7676, None),
        (outputs.OF_2020, 0.855, 49.06, 50, 33.2094, None),
        (outputs.ON_A_GPU, 870.557, 130.565, 50, 119.375, None),
        (outputs.IN_THE_LOG, 126.059, 32.942, 75, 12.1676, None),
        (outputs.LONG_RUNS, 17.187, 3512.391, 50, 2950.34, None),
        (outputs.WITH_PERCENTILES, 5.579, 1357.602, 50, 1240.27, 1239.807),
        (outputs.OF_LITERT, 23744.73, 7441.04, 10, 7430.2, None),
    ],
    ids=["2019", "2020", "gpu", "logcat", "long runs", "percentiles", "litert"],
)
def test_times_of_every_version(printed, load, first, runs, mean, median):
    timing = tools.parse(printed, {"num_threads": 4})
    assert (timing.load_ms, timing.first_ms) == (pytest.approx(load), first and pytest.approx(first))
    found = timing.statistics
    assert (found.runs, found.mean_ms, found.median_ms) == (
        runs,
        pytest.approx(mean),
        median and pytest.approx(median),
    )
    assert timing.median_ms == pytest.approx(median or mean) and timing.mean_only == (median is None)
    assert (
        timing.options == {"num_threads": 4}
        and timing.samples_ms == ()
        and timing.p90_ms is timing.spread is None
    )
    assert found.min_ms < found.mean_ms < found.max_ms and found.std_ms > 0


def test_the_warm_up_the_memory_and_the_delegate():
    timings = {
        name: tools.parse(getattr(outputs, name), {})
        for name in ("OF_2020", "LONG_RUNS", "WITH_PERCENTILES", "OF_LITERT")
    }
    assert [one.warmup.runs for one in timings.values()] == [15, 1, 1, 1]
    assert [one.warmup.mean_ms for one in timings.values()] == pytest.approx(
        [34.8251, 3512.391, 1357.602, 7441.04]
    )
    memory = [12.8672, 46.0859, 109.832, 6391.74]
    assert [one.added_memory / 2**20 for one in timings.values()] == pytest.approx(memory)
    assert timings["OF_2020"].delegate is None
    assert (
        tools.parse(outputs.ON_A_GPU, {}).delegate
        == "the model graph will be completely executed by the delegate"
    )
    assert tools.parse(outputs.IN_THE_LOG, {}).delegate.endswith(
        "partially executed by the delegate w/ 44 delegate kernels"
    )
    taken = "INFO: Replacing 64 out of 66 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 2 partitions for subgraph 0.\n"
    assert (
        tools.parse(taken + outputs.OF_2020, {}).delegate
        == "TfLiteXNNPackDelegate: 64 of 66 nodes, 2 partitions"
    )


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("", "no line of timings"),
        (outputs.TOO_OLD_FOR_MUL, "no line of timings"),
        (outputs.OF_2020.partition("Inference timings")[0], "no line of timings"),
        (outputs.OF_2020 * 2, "2 lines of timings, not one"),
        (outputs.OF_2020.replace("count=", "counts "), "0 lines of counts"),
        (outputs.OF_2020.replace("Running", "count=3 curr=5 avg=5\nRunning"), "4 lines of counts"),
        (
            outputs.OF_2020.replace("avg=33209.4", "mean=33209.4"),
            "a line of counts without an average: 'first=32891 ",
        ),
        (
            outputs.OF_2020.replace("Inference (avg): 33209.4", "Inference (avg): 34000"),
            "mean is 33.2094 ms in one line and 34.0",
        ),
        (outputs.OF_2020.replace("Init: 855", "Init: fast"), "no line of timings"),
        (outputs.OF_LITERT.replace("Inference (avg)", "Inference (mean)"), r"no 'Inference \(avg\)'"),
        (outputs.OF_LITERT + outputs.OF_LITERT, "Model initialization stands there twice"),
    ],
)
def test_what_is_not_understood_is_an_error(printed, reason):
    with pytest.raises(ValueError, match=reason):
        tools.parse(printed, {})


@pytest.mark.parametrize("printed", CLASSIC)
def test_a_line_that_is_cut_off_is_not_read_for_another(printed):
    lines = printed.splitlines(keepends=True)
    for end in range(len(lines)):
        cut = "".join(lines[:end])
        if "timings in us" not in cut:
            with pytest.raises(ValueError):
                tools.parse(cut, {})


def test_a_runtime_that_is_too_old_is_told_with_the_op_its_version_and_another_recipe():
    told = tools.failure(outputs.TOO_OLD_FOR_CONV_2D, "dynamic")
    assert "too old for the file: it has no CONV_2D version 5; take a newer tool" in told
    assert told.endswith("or export with --recipe fp32, whose ops older runtimes have")
    assert "no MUL version 5" in tools.failure(outputs.TOO_OLD_FOR_MUL, "fp16")
    assert tools.failure(outputs.TOO_OLD_FOR_MUL, "int16x8").endswith(
        "--recipe int8, whose ops older runtimes have"
    )
    assert "recipe" not in tools.failure(outputs.TOO_OLD_FOR_MUL, "fp32")
    assert tools.failure(outputs.OF_2020, "fp32") is None


def test_what_a_tool_did_not_know_or_could_not_do_is_told():
    assert tools.ignored("STARTING!\nUnconsumed cmdline flags: --allow_fp16\nMin num runs: [50]\n") == [
        "--allow_fp16"
    ]
    assert tools.ignored("WARN: Unconsumed cmdline flags: --use_gpu=true --min_secs=1\n") == [
        "--use_gpu=true",
        "--min_secs=1",
    ]
    assert tools.ignored(outputs.OF_2020) == []
    told = tools.failure("Failed to apply GPU delegate.\nBenchmarking failed.\n", "fp32")
    assert told == "the phone does not run the file by its GPU delegate; take another --delegate"


def program(path, *, bits=64, machine=183):
    path.write_bytes(
        b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9) + struct.pack("<HH", 3, machine) + bytes(44)
    )
    return path


@pytest.mark.parametrize(
    ("bits", "machine", "abi"),
    [
        (64, 183, "arm64-v8a"),
        (32, 40, "armeabi-v7a"),
        (64, 62, "x86_64"),
        (32, 3, "x86"),
        (64, 243, "riscv64"),
    ],
)
def test_a_tool_says_what_it_runs_on(tmp_path, bits, machine, abi):
    assert tools.recognise(program(tmp_path / "benchmark_model", bits=bits, machine=machine)).abi == abi


def test_a_tool_for_another_processor_is_refused_in_one_line(tmp_path):
    tool = tools.recognise(program(tmp_path / "android_arm_benchmark_model", bits=32, machine=40))
    tools.check_abi(tool, ("arm64-v8a", "armeabi-v7a"), "R5CT")
    with pytest.raises(
        UsageError,
        match="android_arm_benchmark_model is for armeabi-v7a, but R5CT runs arm64-v8a; take the one for arm64-v8a",
    ):
        tools.check_abi(tool, ("arm64-v8a",), "R5CT")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no file .*nowhere.*; --benchmark-bin takes your copy of benchmark_model"),
        (b"", "is no program of Android or Linux"),
        (b"MZ\x90" + bytes(60), "is no program of Android or Linux"),
        (b"\x7fELF", "is no program of Android or Linux"),
        (
            b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x15\x00" + bytes(44),
            r"machine that no phone is \(ELF machine 21\)",
        ),
    ],
)
def test_what_is_no_tool_is_refused(tmp_path, content, message):
    path = tmp_path / "nowhere"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadFile, match=message):
        tools.recognise(path)


def test_a_tool_is_asked_for_the_same_method_as_here(tmp_path):
    settings = Settings(threads=2, runs=30, min_seconds=1.5, warmup=3)
    arguments = tools.recognise(program(tmp_path / "tool")).arguments("/net.tflite", settings, "xnnpack")
    assert arguments == [
        *("--graph=/net.tflite", "--num_threads=2", "--num_runs=30", "--warmup_runs=3"),
        *("--min_secs=1.5", "--warmup_min_secs=0.5", "--use_xnnpack=true"),
    ]
    cold = Tool(tmp_path, "x86").arguments("/net.tflite", dataclasses.replace(settings, warmup=0), "none")
    assert cold[3:] == ["--warmup_runs=0", "--min_secs=1.5", "--warmup_min_secs=0", "--use_xnnpack=false"]
    script = tmp_path / "litert-benchmark"
    script.write_text("#!/usr/bin/python3\n")
    tool = tools.recognise(script)
    assert tool.arguments("/net.tflite", settings, "gpu") == [
        *("--model=/net.tflite", "--num_threads=2", "--num_runs=30", "--warmup_runs=3", "--use_gpu"),
    ]
    with pytest.raises(
        UsageError, match="litert-benchmark is a script, which runs xnnpack or gpu, not nnapi"
    ):
        tool.check_delegate("nnapi")
    with pytest.raises(UnknownName, match="unknown delegate 'gpus'; did you mean gpu"):
        tool.check_delegate("gpus")


#: A Samsung of 2018 on a cable (gh0st.tistory.com/6); an Nvidia Shield (bryanroscoe/shield_optimizer issue 6).
BATTERY = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  status: 2
  health: 2
  present: true
  level: 84
  scale: 100
  voltage: 4063
  temperature: 326
  technology: Li-ion
  current now: 321
"""


def test_how_warm_a_phone_is():
    assert parse_condition("Thermal Status: 0\n" + BATTERY) == Condition(
        thermal="none", celsius=32.6, battery=84, charging=True
    )
    assert parse_condition("Thermal Status: 3\n").thermal == "severe"
    assert parse_condition("") == Condition(thermal=None, celsius=None, battery=None, charging=None)
    assert parse_condition("Thermal Status: unknown\nlevel: -\n").thermal is None


def at(celsius, thermal="none"):
    return Condition(thermal=thermal, celsius=celsius, battery=None, charging=None)


def test_a_phone_has_its_time_to_cool(monkeypatch):
    monkeypatch.setattr("edgecls.devices.benchmark._LOOK_SECONDS", 0.01)
    readings = [at(36.0), at(33.0, "light"), at(31.5), at(30.9)]
    look = iter(readings)
    assert cooled(lambda: next(look), at(30.0), 5.0) == readings[-1]
    assert cooled(lambda: at(40.0), at(30.0), 0.05) == at(40.0)
    assert cooled(lambda: at(None, None), at(None, None), 5.0) == at(None, None)
    assert (
        is_warm(at(None, "light"), at(None))
        and not is_warm(at(31.0), at(30.0))
        and is_warm(at(31.1), at(30.0))
    )
