"""`profile` from the call to the report, with tiny files in the place of exported ones."""

import dataclasses
import json

import made_up
import pytest
import tiny
from made_up import MACS, PARAMS, publish

import edgecls.cli
from edgecls import artifact, profiling
from edgecls.errors import BadFile, UnknownName, UsageError, WorkFailed
from edgecls.profiling.store import Store
from edgecls.verbs import profile as verb

QUICK = {"runs": 3, "min_seconds": 0.0, "warmup": 0}


@pytest.fixture
def exports(monkeypatch):
    """Calls of `export`, which writes tiny files; a name in `failing` fails with its reason."""

    class Exports(list):
        failing = {}

        def __call__(self, names, *, formats, precisions, weights, out):
            self.weights.append(weights)
            self.append((list(names), list(formats), list(precisions)))
            for name in names:
                if name in self.failing:
                    raise WorkFailed(self.failing[name])
                for format in formats:
                    for precision in precisions:
                        publish(out / name / f"{name}-{precision}.{format}", name)

    calls = Exports()
    calls.weights = []
    module = type(edgecls)("edgecls.verbs.export")
    module.export = calls
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    return calls


@pytest.fixture
def measured(monkeypatch):
    """Files measured, in order, without measuring them."""
    order = []

    def stand_in(path, subject, settings, *, run, error):
        order.append(path.name)
        failure = {"timing": None, "error": error} if error else {}
        return made_up.profile(
            subject=subject, settings=settings, run=run, runtime=RUNTIME[path.suffix], **failure
        )

    monkeypatch.setattr(profiling, "profile_file", stand_in)
    return order


RUNTIME = {".tflite": "litert", ".onnx": "ort"}


def test_a_named_architecture_is_exported_once_and_measured_in_both_runtimes(tmp_path, exports):
    profiles = verb.profile("mobilenet_v2", artifacts=tmp_path, precisions=["fp32"], **QUICK)
    assert exports == [(["mobilenet_v2"], ["tflite", "onnx"], ["fp32"])]
    assert [(p.subject.model, p.runtime, p.subject.precision, p.subject.tier) for p in profiles] == [
        ("mobilenet_v2", "litert", "fp32", "light"),
        ("mobilenet_v2", "ort", "fp32", "light"),
    ]
    for one in profiles:
        assert one.error is None and len(one.timing.samples_ms) == 3
        assert (one.subject.cost.params, one.subject.cost.macs) == (PARAMS, MACS)
        assert one.subject.untrained and one.subject.notes == ()
    assert Store(tmp_path).read() == (profiles, [])
    verb.profile("mobilenet_v2", artifacts=tmp_path, precisions=["fp32"], runtimes=["ort"], **QUICK)
    assert len(exports) == 1 and len(Store(tmp_path).read()[0]) == 3


def test_nothing_named_means_the_default_set(tmp_path, exports, measured):
    verb.profile(artifacts=tmp_path, runtimes=["litert"], **QUICK)
    assert measured == [
        f"{name}-{precision}.tflite" for name in verb.DEFAULT_MODELS for precision in ("fp32", "int8")
    ]


def test_only_what_is_missing_is_exported(tmp_path, exports, measured):
    """A trained file must not give way to a random one because its neighbour is missing."""
    trained = publish(tmp_path / "vgg16" / "vgg16-fp32.tflite", "vgg16", trained=True)
    damaged = publish(tmp_path / "vgg16" / "vgg16-int8.onnx", "vgg16")
    damaged.path.write_bytes(b"")
    profiles = verb.profile("vgg16", artifacts=tmp_path, **QUICK)
    assert exports == [(["vgg16"], ["tflite"], ["int8"]), (["vgg16"], ["onnx"], ["fp32", "int8"])]
    assert exports.weights == ["my.h5"] * 2
    assert [p.subject.untrained for p in profiles] == [False, True, True, True]
    assert artifact.load(trained.path).manifest == trained.manifest


@pytest.mark.parametrize(("tag", "expected"), [(None, "my.h5"), ("digits", "imagenet:digits")])
def test_what_is_missing_is_made_of_the_weights_of_what_is_there(tmp_path, exports, measured, tag, expected):
    publish(tmp_path / "vgg16" / "vgg16-fp32.tflite", "vgg16", trained=True, tag=tag)
    verb.profile(["vgg16", "lenet5"], artifacts=tmp_path, precisions=["fp32"], **QUICK)
    assert exports.weights == [expected, "random"]


def test_a_failed_export_is_a_failed_row_and_the_others_go_on(tmp_path, exports, measured):
    exports.failing["resnet50"] = "ran out of memory"
    notes = []
    profiles = verb.profile(
        ["resnet50", "vgg16"], artifacts=tmp_path, precisions=["fp32"], on_note=notes.append, **QUICK
    )
    assert [(p.subject.model, p.runtime, p.error) for p in profiles] == [
        ("resnet50", "litert", "there is no resnet50-fp32.tflite: ran out of memory"),
        ("resnet50", "ort", "there is no resnet50-fp32.onnx: ran out of memory"),
        ("vgg16", "litert", None),
        ("vgg16", "ort", None),
    ]
    assert notes[0] == "export of resnet50 failed: ran out of memory"
    assert "resnet50 fp32 on ort: there is no resnet50-fp32.onnx: ran out of memory" in notes


def test_counts_that_differ_and_a_broken_export_are_told(tmp_path, exports, measured):
    publish(tmp_path / "vgg16" / "vgg16-fp32.tflite", "vgg16", params=7)
    publish(tmp_path / "vgg16" / "vgg16-fp32.onnx", "vgg16", macs=97, passed=False)
    notes = []
    profiles = verb.profile("vgg16", artifacts=tmp_path, precisions=["fp32"], on_note=notes.append, **QUICK)
    assert profiles[0].subject.notes == (
        "counts differ: its manifest says 7 params and 96 MACs, the file holds 6 and 96",
    )
    assert profiles[1].subject.notes == (
        "counts differ: its manifest says 6 params and 97 MACs, the file holds 6 and 96",
        "it does not agree with its float model: its figures are those of a broken export",
    )
    assert notes[0] == f"vgg16 fp32 on litert: {profiles[0].subject.notes[0]}"


def test_a_model_is_counted_as_its_own_and_a_file_of_zeros_says_so(tmp_path, exports, measured):
    counts = {"params": 2, "macs": 24, "graph_params": PARAMS, "graph_macs": MACS}
    publish(tmp_path / "vgg16" / "vgg16-int8.tflite", "vgg16", **counts)
    (one,) = verb.profile("vgg16", artifacts=tmp_path, precisions=["int8"], runtimes=["litert"], **QUICK)
    assert (one.subject.params, one.subject.macs) == (2, 24)
    assert (one.subject.graph_params, one.subject.graph_macs) == (PARAMS, MACS)
    assert one.gmacs_per_s == 24 / one.timing.median_ms / 1e6
    assert one.subject.notes == (
        "computes 0.0 M MACs with 0.00 M params, zeros included; the model has 0.0 M and 0.00 M",
    )


def test_files_from_elsewhere(tmp_path):
    tflite, onnx = tiny.save_tflite(tmp_path / "theirs.tflite"), tiny.save_onnx(tmp_path / "theirs.onnx")
    refused = tiny.save_onnx(tmp_path / "refused.onnx", node=_mystery(), domain="elsewhere")
    notes = []
    first, second, third = verb.profile(
        [tflite, str(onnx), refused, tflite], artifacts=tmp_path / "records", on_note=notes.append, **QUICK
    )
    assert (first.subject.model, first.subject.precision, first.subject.cost.macs) == ("theirs", "fp32", MACS)
    assert first.subject.tier is None and first.subject.untrained is None
    assert first.error is second.error is None and second.runtime == "ort"
    assert "Mystery" in third.error and third.subject.cost is None
    assert third.subject.notes[0].startswith("MACs are unknown: ") and "Mystery" in third.subject.notes[0]
    assert f"refused fp32 on ort: {third.subject.notes[0]}; " in "\n".join(notes)


def test_an_interrupted_call_goes_on_where_it_was(tmp_path, exports, measured, monkeypatch):
    stand_in = profiling.profile_file

    def interrupted(path, *arguments, **options):
        if path.name == "vgg16-int8.tflite":
            raise KeyboardInterrupt
        return stand_in(path, *arguments, **options)

    call = {"targets": ["resnet50", "vgg16"], "runtimes": ["litert"], "artifacts": tmp_path, **QUICK}
    monkeypatch.setattr(profiling, "profile_file", interrupted)
    notes, steps = [], []
    with pytest.raises(KeyboardInterrupt):
        verb.profile(**call, on_note=notes.append)
    assert notes == ["3 of 4 are measured; the same call goes on from there"]
    assert measured == ["resnet50-fp32.tflite", "resnet50-int8.tflite", "vgg16-fp32.tflite"]
    monkeypatch.setattr(profiling, "profile_file", stand_in)
    profiles = verb.profile(**call, on_note=notes.append, on_step=steps.append)
    assert measured[3:] == ["vgg16-int8.tflite"]
    assert [p.subject.file for p in profiles] == measured and len({p.run for p in profiles}) == 1
    assert notes[1:] == ["going on with the run of 2030-01-02T03:04:05+00:00: 3 of 4 are measured"]
    assert steps[-1] == verb.Step(5, 6, "measure vgg16 int8 on litert")
    verb.profile(**call)
    assert measured[4:] == measured[:4]


def test_another_call_or_a_changed_file_measures_afresh(tmp_path, exports, measured):
    files = [tiny.save_tflite(tmp_path / "a.tflite"), tiny.save_tflite(tmp_path / "b.tflite")]

    def interrupt(step):
        if step.what.startswith("measure b"):
            raise KeyboardInterrupt

    def call(**changed):
        with pytest.raises(KeyboardInterrupt):
            verb.profile(files, artifacts=tmp_path, on_step=interrupt, **(QUICK | changed))

    call()
    call()
    assert measured == ["a.tflite"]
    call(runs=4)
    assert measured == ["a.tflite"] * 2
    tiny.save_tflite(files[1], filters=3)
    call(runs=4)
    assert measured == ["a.tflite"] * 3


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (
            {"targets": "mobilenet_v9"},
            UnknownName,
            "unknown architecture 'mobilenet_v9'; did you mean mobilenet_v",
        ),
        ({"runtimes": ["lite"]}, UnknownName, "unknown runtime 'lite'; "),
        ({"precisions": ["int9"]}, UnknownName, "unknown precision 'int9'; did you mean int8"),
        ({"threads": 0}, UsageError, "--threads must be at least 1, got 0"),
        ({"targets": "nowhere.onnx"}, BadFile, "nowhere.onnx"),
        (
            {"targets": "good.tflite", "runtimes": ["ort"]},
            UsageError,
            "good.tflite runs in litert, but --runtime is ort",
        ),
        (
            {"targets": "good.tflite", "precisions": ["int8"]},
            UsageError,
            "good.tflite is fp32, but --precision is int8",
        ),
        ({"targets": ["good.tflite", "bad.tflite"]}, BadFile, "bad.tflite"),
        ({"targets": ["good.tflite", "model.pt"]}, UsageError, "no runtime for 'model.pt'"),
        ({"targets": "open.onnx"}, UsageError, "open.onnx"),
        (
            {"targets": "good.tflite", "artifacts": "good.tflite/here"},
            UsageError,
            "choose another with --artifacts",
        ),
    ],
)
def test_a_wrong_call_is_refused_before_any_work(
    tmp_path, monkeypatch, exports, measured, wrong, error, message
):
    monkeypatch.chdir(tmp_path)
    tiny.save_tflite(tmp_path / "good.tflite")
    tiny.save_onnx(tmp_path / "open.onnx", input_shape=(1, 3, "height", 4))
    (tmp_path / "bad.tflite").write_bytes(b"not a model")
    (tmp_path / "model.pt").write_bytes(b"")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=message):
        verb.profile(**wrong)
    assert exports == measured == [] and sorted(tmp_path.iterdir()) == before


def run(capsys, monkeypatch, *words):
    """(exit code, stdout, stderr) of the command."""
    monkeypatch.setattr("sys.argv", ["edgecls", "profile", *map(str, words)])
    with pytest.raises(SystemExit) as exit:
        edgecls.cli.main()
    return exit.value.code, *capsys.readouterr()


def test_the_command_prints_results_on_stdout_and_nothing_else(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.save_tflite(tmp_path / "theirs.tflite")
    quick = ("--runs", 3, "--min-seconds", 0, "--warmup", 0, "--artifacts", "kept")
    code, out, err = run(capsys, monkeypatch, "theirs.tflite", *quick, "--format", "json", "--threads", 2)
    (record,) = json.loads(out)
    assert code == 0 and record["model"] == "theirs" and len(record["samples_ms"]) == 3
    assert record["settings"] == dataclasses.asdict(
        profiling.Settings(threads=2, runs=3, min_seconds=0.0, warmup=0)
    )
    assert all(line.startswith("edgecls: theirs fp32 on litert: ") for line in err.splitlines())
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["profiles.jsonl"]


def test_the_command_writes_a_report_in_the_format_of_its_name(tmp_path, capsys, monkeypatch, measured):
    monkeypatch.chdir(tmp_path)
    tiny.save_tflite(tmp_path / "theirs.tflite")
    for out, start in [("a.csv", "model,"), ("a.md", "| model |"), ("a.json", "[\n"), ("a.txt", "model  ")]:
        assert run(capsys, monkeypatch, "theirs.tflite", "--out", out) == (0, "", "")
        assert (tmp_path / out).read_text().startswith(start)
    run(capsys, monkeypatch, "theirs.tflite", "--out", "a.txt", "--format", "csv")
    assert (tmp_path / "a.txt").read_text().startswith("model,")


def test_a_failed_measurement_is_in_the_report_and_in_the_exit_code(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.save_tflite(tmp_path / "good.tflite")
    tiny.save_onnx(tmp_path / "refused.onnx", node=_mystery(), domain="elsewhere")
    code, out, err = run(capsys, monkeypatch, "good.tflite", "refused.onnx", "--runs", 1, "--min-seconds", 0)
    assert code == 1
    assert "failed: refused fp32 on ort: ONNX Runtime refuses refused.onnx: " in out
    assert out.splitlines()[1].startswith("good ")
    assert "edgecls: refused fp32 on ort: MACs are unknown: " in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "jsno"], "unknown report format 'jsno'; did you mean json?"),
        (["--runtime", "litert,,ort"], "expected names with commas between them, got 'litert,,ort'"),
        (["--runtime", "tflite"], "unknown runtime 'tflite'; "),
        (["--precision", "int88"], "unknown precision 'int88'; did you mean int8 or int16x8?"),
        (["--runs", "0"], "--runs must be at least 1, got 0"),
        (["--runs", "many"], "Invalid value for '--runs'"),
        (["good.tflite", "--runtime", "ort"], "good.tflite runs in litert, but --runtime is ort"),
        (["--out", "nowhere/report.csv"], "must be a file in a folder that exists, got 'nowhere/report.csv'"),
        (["--out", "."], "--out must be a file in a folder that exists, got '.'"),
        (["bad.tflite"], "bad.tflite"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_2(
    tmp_path, capsys, monkeypatch, exports, measured, words, message
):
    monkeypatch.chdir(tmp_path)
    tiny.save_tflite(tmp_path / "good.tflite")
    (tmp_path / "bad.tflite").write_bytes(b"not a model")
    before = sorted(tmp_path.iterdir())
    code, out, err = run(capsys, monkeypatch, *words)
    assert code == 2 and out == "" and err.startswith("edgecls: ") and len(err.splitlines()) == 1
    assert message in err
    assert exports == measured == [] and sorted(tmp_path.iterdir()) == before


def _mystery():
    from onnx import helper

    return helper.make_node("Mystery", ["image"], ["logits"], domain="elsewhere")
