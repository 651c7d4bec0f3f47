"""A measurement: what the child measures, what follows from the samples, how it is kept."""

import dataclasses
import json
import subprocess
import sys

import pytest
import tiny
from made_up import profile, timing

from edgecls import graph
from edgecls.errors import BadFile, UsageError
from edgecls.profiling import Settings, Subject, machine, profile_file
from edgecls.profiling.record import percentile
from edgecls.profiling.run import precision
from edgecls.profiling.store import Store

QUICK = Settings(runs=5, min_seconds=0.05, warmup=3, warmup_seconds=0.02)


def subject(path, **known) -> Subject:
    facts = {
        "file": path.name,
        "sha256": "0",
        "bytes": 1,
        "format": path.suffix[1:],
        "precision": "fp32",
        "model": "m",
    }
    return Subject(**facts | known)


@pytest.mark.parametrize(
    ("save", "runtime"), [(tiny.save_tflite, "litert"), (tiny.save_onnx, "ort")], ids=["litert", "ort"]
)
def test_a_file_is_measured_in_a_child_process(tmp_path, save, runtime):
    path = save(tmp_path / f"a.{save.__name__.removeprefix('save_')}")
    measured = profile_file(path, subject(path), QUICK, run="r")
    assert measured.error is None and measured.runtime == runtime and measured.run == "r"
    timing = measured.timing
    assert len(timing.samples_ms) >= QUICK.runs and sum(timing.samples_ms) <= 2000
    assert len(timing.warmup_ms) >= QUICK.warmup
    assert all(
        sample > 0 for sample in timing.samples_ms + timing.warmup_ms + (timing.load_ms, timing.first_ms)
    )
    assert 10e6 < timing.base_memory < timing.peak_memory < 1e9
    assert (timing.delegation.delegated == 1) if runtime == "litert" else (timing.delegation is None)


def test_both_limits_must_be_reached(tmp_path):
    path = tiny.save_tflite(tmp_path / "a.tflite")
    by_time = dataclasses.replace(QUICK, runs=1, min_seconds=0.2)
    by_count = dataclasses.replace(QUICK, runs=3000, min_seconds=0, warmup=0)
    slow, counted = (
        profile_file(path, subject(path), settings, run="r").timing for settings in (by_time, by_count)
    )
    # The loop's own share of the time is in no sample.
    assert 50 < sum(slow.samples_ms) < 1000 and len(slow.samples_ms) > 100
    assert len(counted.samples_ms) == 3000 and counted.warmup_ms == ()


def test_a_model_takes_memory_of_its_own(tmp_path):
    path = tiny.save_onnx(tmp_path / "big.onnx", filters=3_000_000, input_shape=(1, 3, 1, 1))
    timing = profile_file(path, subject(path), QUICK, run="r").timing
    assert timing.peak_memory - timing.base_memory > 9_000_000 * 4


def test_a_refused_file_is_a_record_with_the_reason(tmp_path):
    path = tiny.save_tflite(tmp_path / "a.tflite", then="Mystery")
    measured = profile_file(path, subject(path), QUICK, run="r")
    assert measured.timing is None and measured.gmacs_per_s is None
    assert measured.error.startswith("LiteRT refuses a.tflite: ") and "Mystery" in measured.error


def test_the_child_imports_one_runtime_and_no_framework(tmp_path):
    path = tiny.save_tflite(tmp_path / "a.tflite")
    settings = {"path": str(path), **dataclasses.asdict(QUICK)}
    code = (
        "import sys; from edgecls.profiling.measure import measure; "
        f"measure(**{settings!r}, emit=print); print(sorted(sys.modules))"
    )
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'ai_edge_litert'" in modules
    for absent in ("tensorflow", "keras", "onnx", "onnxruntime", "psutil", "rich", "typer"):
        assert f"'{absent}'" not in modules


def test_statistics_computed_by_hand():
    samples = timing([4.0, 1.0, 2.0, 3.0, 100.0])
    assert samples.median_ms == 3.0
    assert samples.mean_ms == 22.0
    assert samples.p90_ms == pytest.approx(4.0 + 0.6 * 96.0)  # place 3.6 of 0..4
    assert samples.spread == pytest.approx((4.0 - 2.0) / 3.0)
    assert percentile([1.0, 2.0], 50) == 1.5
    assert percentile([7.0], 90) == 7.0
    assert profile(ms=2.0, macs=300_000_000).gmacs_per_s == 150.0
    assert profile(macs=None).gmacs_per_s is None


def test_what_spoils_a_measurement_is_warned_of():
    steady = timing([1.0, 1.01, 1.02, 1.03])
    assert profile(timing=steady).warnings == ()
    assert profile(timing=steady, busy_cores=3.0).warnings == ()
    (busy,) = profile(timing=steady, busy_cores=3.1).warnings
    assert busy == "other work kept 3.1 of 4 cores busy; stop it and measure again"
    (spread,) = profile(timing=timing([1.0, 1.0, 2.0, 2.0])).warnings
    assert spread.startswith("the middle half of the runs spreads over 67% of the median; measure again")
    four_threads = profile(timing=steady, settings=Settings(threads=4), busy_cores=0.5)
    assert len(four_threads.warnings) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"threads": 0}, "--threads must be at least 1, got 0"),
        ({"runs": 0}, "--runs must be at least 1, got 0"),
        ({"min_seconds": -1.0}, "--min-seconds must be at least 0, got -1.0"),
        ({"min_seconds": float("nan")}, "--min-seconds must be at least 0, got nan"),
        ({"warmup": -1}, "--warmup must be at least 0, got -1"),
    ],
)
def test_settings_that_measure_nothing(wrong, message):
    with pytest.raises(UsageError, match=message):
        Settings(**wrong)


def test_profiles_come_back_as_they_were(tmp_path):
    store = Store(tmp_path)
    assert store.read() == ([], [])
    kept = [
        profile(timing=timing([1.0, 2.5])),
        profile("bignet", runtime="ort", error="no"),
        profile(macs=None),
    ]
    for one in kept:
        store.append(one)
    assert store.read() == (kept, [])
    assert len(store.path.read_text().splitlines()) == 3


def test_a_real_measurement_comes_back_as_it_was(tmp_path):
    path = tiny.save_tflite(tmp_path / "a.tflite", then="LOG_SOFTMAX")
    measured = profile_file(path, subject(path), QUICK, run="r")
    Store(tmp_path).append(measured)
    assert Store(tmp_path).read() == ([measured], [])
    assert measured.timing.delegation.outside == {"LOG_SOFTMAX": 1}
    assert measured.machine.logical_cores >= 1 and measured.machine.memory > 1e8


@pytest.mark.parametrize(
    ("weights", "computed", "kinds", "expected"),
    [
        ("float32", ["float32"], ["CONV_2D"], "fp32"),
        ("float16", ["float16", "float32"], ["DEQUANTIZE", "CONV_2D"], "fp16"),
        ("int4", ["float32"], ["DEQUANTIZE", "CONV_2D"], "int4"),
        ("int8", ["int8"], ["CONV_2D"], "int8"),
        ("uint8", ["uint8"], ["CONV_2D"], "int8"),
        ("int8", ["float32", "uint8"], ["QuantizeLinear", "DequantizeLinear", "Conv"], "int8"),
        ("int8", ["int16"], ["CONV_2D"], "int16x8"),
        ("int8", ["float32"], ["CONV_2D"], "dynamic"),
        ("int8", ["float32"], ["DEQUANTIZE", "CONV_2D"], "int8-weights"),
        ("int8", ["float32", "uint8"], ["DynamicQuantizeLinear", "ConvInteger"], "int8-dynamic"),
        (None, ["float32"], ["MAX_POOL_2D"], "fp32"),
    ],
)
def test_precision_is_read_from_the_graph(weights, computed, kinds, expected):
    constants = [graph.Tensor("shape", (9000,), "int64", "a"), graph.Tensor("labels", (90,), "string", "b")]
    if weights:
        constants.append(graph.Tensor("weights", (1000,), weights, "c"))
    activations = [graph.Tensor(f"activation {i}", (9000,), dtype) for i, dtype in enumerate(computed)]
    reads = [tuple(constants[2:]), *[()] * len(kinds)]  # the first op has the weights
    ops = [graph.Op(index=i, kind=kind, name=kind, inputs=reads[i], outputs=()) for i, kind in enumerate(kinds)]
    made = graph.Graph(
        path=None,
        format="onnx",
        inputs=(activations[0],),
        outputs=(activations[-1],),
        tensors={tensor.name: tensor for tensor in constants + activations},
        ops=tuple(ops),
        dynamic={},
        subgraphs=1,
        metadata={},
        load=None,
    )
    assert precision(made) == expected


@pytest.mark.parametrize("left", [1, 20, -2])
def test_a_line_cut_short_is_skipped_with_a_note_and_the_next_begins_anew(tmp_path, left):
    store = Store(tmp_path)
    first, second, third = profile("a"), profile("b"), profile("c")
    store.append(first)
    whole = store.path.read_bytes()
    store.append(second)
    store.path.write_bytes(whole + store.path.read_bytes()[len(whole) :][:left])
    assert store.read() == ([first], ["profiles.jsonl line 2 is unfinished and was skipped"])
    store.append(third)
    assert store.read() == ([first, third], ["profiles.jsonl line 2 is unfinished and was skipped"])


def test_a_line_that_lacks_its_end_alone_is_whole(tmp_path):
    store = Store(tmp_path)
    store.append(profile("a"))
    store.path.write_bytes(store.path.read_bytes().rstrip(b"\n"))
    store.append(profile("b"))
    assert store.read() == ([profile("a"), profile("b")], [])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 1}, "schema 1 is not 3"),
        ({"surprise": 1}, "unknown field 'surprise'"),
        ({"busy_cores": "many"}, "expected float, got 'many'"),
        ({"settings": None}, ""),
    ],
)
def test_a_whole_line_that_is_no_profile_is_refused(tmp_path, change, reason):
    store = Store(tmp_path)
    store.path.write_text(json.dumps(profile().to_json() | change) + "\n")
    with pytest.raises(BadFile, match=rf"profiles.jsonl line 1 is not a profile: .*{reason}"):
        store.read()
    store.path.write_text("[]\n")
    with pytest.raises(BadFile, match="line 1 is not a profile"):
        store.read()


def test_an_interrupted_run_goes_on_and_a_finished_one_does_not(tmp_path):
    store = Store(tmp_path)
    run = store.begin("plan")
    assert run.measured == ()
    done, failed = profile("a", run=run.name), profile("b", run=run.name, error="no")
    for one in (profile("old"), done, failed):
        store.append(one)
    again = Store(tmp_path).begin("plan")
    assert again.name == run.name and again.measured == (done,)
    assert Store(tmp_path).begin("another plan").name != run.name
    assert Store(tmp_path).begin("plan").measured == ()  # forgotten for the other plan
    store.finish()
    store.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["profiles.jsonl"]
    assert store.begin("plan").name != run.name


def test_a_damaged_note_of_the_run_is_told(tmp_path):
    (tmp_path / ".profile-run.json").write_text("{")
    with pytest.raises(BadFile, match=r"profile-run.json' is damaged; remove it to measure afresh"):
        Store(tmp_path).begin("plan")


def test_the_cpu_is_read_as_the_kernel_writes_it(monkeypatch):
    def cpu(text):
        monkeypatch.setattr(machine, "_read", lambda path: text)
        monkeypatch.setattr(machine.sys, "platform", "linux")
        return machine._cpu()

    x86 = "model name\t: Imaginary 9000\nflags\t\t: fpu avx2 rdseed amx_int8\n\nmodel name\t: Another\n"
    arm = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\nCPU part\t: 0xd4d\n\nHardware\t: Some Board\n"
    assert cpu(x86) == ("Imaginary 9000", ("avx2", "amx_int8"))
    assert cpu(arm) == ("Some Board", ("asimd", "asimddp", "i8mm"))
    name, features = cpu("")
    assert name and features == ()
