"""scripts/arm_parity: what it calls ok, how it finds the op that differs, its table; a file run on ARM64."""

import argparse
import importlib.util
import json
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import numpy as np
import pytest

from edgecls.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
loader = SourceFileLoader("arm_parity", str(ROOT / "scripts" / "arm_parity"))
arm_parity = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
loader.exec_module(arm_parity)

PICTURES = np.random.default_rng(0).standard_normal((2, 32, 32, 1)).astype(np.float32)
HERE = [sys.executable]


def cell(recipe="tflite-fp32", cpu="cortex-a76", row="mobilenet_v1.keras", **changed):
    """One that is ok, but for what is changed."""
    runtime = "litert 2.3.0" if recipe.startswith("tflite") else "ort 1.31.1"
    return {
        "row": row,
        "size": 96,
        "recipe": recipe,
        "cpu": cpu,
        "mark": "as it was",
        "error": None,
        "machine": "aarch64",
        "features": ["asimd", "asimddp", "asimdhp"],
        "features_here": ["avx2"],
        "runtime": runtime,
        "runtime_here": runtime,
        "delegation": {"partitions": 1} if recipe.startswith("tflite") else None,
        "difference": 0.0,
        "apart": 1e-5,
        "sqnr_db": 40.0,
        "sqnr_db_here": 40.0,
        "first": None,
    } | changed


@pytest.mark.parametrize(
    "changed",
    [
        {"recipe": "tflite-fp32", "difference": 1e-6},
        {"recipe": "tflite-fp16", "difference": 1e-6},
        {"recipe": "onnx-fp32", "sqnr_db": None},
        {"recipe": "tflite-int8"},
        {"recipe": "onnx-fp16", "difference": 0.1, "sqnr_db": 20.0},
        {"recipe": "tflite-dynamic", "difference": 0.1, "sqnr_db": 8.0},
        {"cpu": "cortex-a53", "features": ["asimd"]},
    ],
)
def test_a_cell_within_its_bound_is_ok(changed):
    assert arm_parity.problems(cell(**changed)) == []
    assert " ok " in arm_parity.line(cell(**changed))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (
            {"recipe": "tflite-fp32", "difference": 1.1e-6},
            "1.1e-06 of the spread, 1e-06 wanted; here the two runtimes are 1.0e-05 apart",
        ),
        ({"recipe": "onnx-fp32", "difference": 1.0}, "1.0e+00 of the spread"),
        ({"recipe": "tflite-int8", "difference": 1e-9}, "1.0e-09 of the spread, the same bits wanted"),
        ({"recipe": "onnx-int8", "difference": 1e-9}, "the same bits wanted"),
        ({"recipe": "onnx-fp16", "sqnr_db": 19.9}, "19.9 dB from float, 20 wanted"),
        ({"recipe": "tflite-dynamic", "sqnr_db": 7.9}, "7.9 dB from float, 8 wanted"),
        ({"recipe": "tflite-int8", "delegation": {"partitions": 0}}, "no delegate took part"),
        ({"machine": "x86_64"}, "not run on cortex-a76: x86_64"),
        ({"features": ["asimd"]}, "not run on cortex-a76: without asimddp, asimdhp"),
        ({"runtime": "litert 2.4.0"}, "litert 2.4.0 there, litert 2.3.0 here"),
        ({"error": "exit code -11: it said nothing"}, "exit code -11"),
    ],
)
def test_a_cell_beyond_its_bound_is_not(changed, problem):
    (found,) = arm_parity.problems(cell(**changed))
    assert problem in found
    assert "FAILED" in arm_parity.line(cell(**changed)) and found in arm_parity.line(cell(**changed))


def test_every_recipe_that_is_compared_has_a_bound():
    assert {recipe.rpartition("-")[2] for recipe in arm_parity.BOUNDS} <= {"fp32", "fp16", "int8", "dynamic"}
    made = {f"{format}-{name}" for format in ("tflite", "onnx") for name in arm_parity.PRECISIONS}
    assert set(arm_parity.BOUNDS) == made & set(arm_parity.RECIPES)


def test_a_difference_is_told_in_standard_deviations():
    logits = np.float32([[0, 1, 2, 3]])
    assert arm_parity.difference(logits, logits.copy()) == 0
    other = logits + np.float32([[0, 0, 0.5, -0.25]])
    assert arm_parity.difference(logits, other) == pytest.approx(0.5 / np.std([0, 1, 2, 3]))
    assert arm_parity.difference(np.zeros((1, 2)), np.ones((1, 2))) > 1e100


@pytest.mark.parametrize("name", ["lenet5-int8.tflite", "lenet5-int8.onnx"])
def test_the_first_op_that_differs_is_found(cold_export, tmp_path, name):
    path, copy = cold_export[0] / "lenet5" / name, tmp_path / name
    arm_parity.reveal(path, copy)
    told = arm_parity.answers(HERE, PICTURES, [path, copy])
    revealed = arm_parity.answers(HERE, PICTURES, [copy])[name]["outputs"]
    found = arm_parity.results(copy)
    assert len(revealed) == len(found) > 8
    np.testing.assert_array_equal(revealed[-1], told[name]["outputs"][-1])
    assert arm_parity.first_difference(copy, revealed, revealed) is None
    number = next(number for number, (op, _) in enumerate(found) if op in ("CONV_2D", "Conv", "QLinearConv"))
    others = [value.copy() for value in revealed]
    for other in others[number:]:
        other.flat[-1] += 1
    first = arm_parity.first_difference(copy, revealed, others)
    assert first == {"op": found[number][0], "tensor": found[number][1], "before": number, "of": len(found)}


def test_a_file_that_does_not_run_says_why(cold_export, tmp_path):
    good, bad = cold_export[0] / "lenet5" / "lenet5-int8.tflite", tmp_path / "bad.tflite"
    bad.write_bytes(b"no model at all")
    told = arm_parity.answers(HERE, PICTURES, [bad, good])
    assert "not a TFLite model" in told["bad.tflite"]["error"]
    assert told[good.name]["delegation"]["partitions"] >= 1
    assert told[good.name]["outputs"][0].shape == (2, 1, 10)


def test_a_file_that_ends_the_process_does_not_keep_others_from_running(tmp_path):
    files = [tmp_path / name for name in ("first", "deadly", "last")]
    runner = """
        shift 3
        for file in "$@"; do
            case $file in *deadly) echo sorry >&2; exit 3 ;; esac
            printf '{"file": "%s", "error": "it ran"}\\n' "${file##*/}"
        done"""
    told = arm_parity.answers(["sh", "-c", runner, "sh"], PICTURES, files)
    assert {name: said["error"] for name, said in told.items()} == {
        "first": "it ran",
        "deadly": "exit code 3: sorry",
        "last": "it ran",
    }


class Net:
    """Stands for the files of an architecture; what its cells are is set by the test."""

    made, difference = [], 0.0

    def __init__(self, row, folder):
        self.row = row

    def mark(self, recipe, cpu):
        return "as it was"

    def cells(self, recipes, cpu):
        Net.made += [(recipe, cpu) for recipe in recipes]
        return [cell(recipe, cpu, self.row, difference=Net.difference) for recipe in recipes]


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the script with made-up cells: (exit code, those that were run)."""
    (tmp_path / "complete").touch()
    monkeypatch.setattr(arm_parity, "Net", Net)
    monkeypatch.setattr(arm_parity, "PEER", tmp_path)

    def call(*, patterns=("mobilenet_v1*",), difference=0.0, doc=False):
        Net.made, Net.difference = [], difference
        options = argparse.Namespace(
            patterns=patterns, out=tmp_path, results=tmp_path / "new" / "results.jsonl", doc=doc
        )
        return arm_parity.main(options), Net.made

    return call


def test_cells_are_run_once_and_a_failure_makes_the_exit_code_1(run, tmp_path, capsys):
    all_cells = [(recipe, cpu) for cpu in arm_parity.CPUS for recipe in arm_parity.BOUNDS]
    assert run() == (0, all_cells)
    assert run() == (0, [])
    assert "16 cells ok, 0 failed" in capsys.readouterr().err
    results = tmp_path / "new" / "results.jsonl"
    kept = [json.loads(line) for line in results.read_text().splitlines()]
    results.write_text("".join(json.dumps(one | {"mark": "another"}) + "\n" for one in kept))
    code, made = run(difference=1e-3)
    assert (code, made) == (1, all_cells)
    assert run() == (1, [])


def test_a_pattern_without_rows_and_a_machine_without_the_computer_are_refused(run, tmp_path):
    with pytest.raises(UsageError, match="no row is named nothing; rows are mobilenet_v1.keras"):
        run(patterns=["nothing"])
    (tmp_path / "complete").unlink()
    with pytest.raises(UsageError, match="run scripts/peer_arm"):
        run()


def test_the_document_has_a_figure_for_each_cell_and_shows_what_failed():
    cells = {
        (row, recipe, cpu): cell(recipe, cpu, row)
        for row in arm_parity.ROWS
        for recipe in arm_parity.BOUNDS
        for cpu in arm_parity.CPUS
    }
    key = ("resnet18.torchvision", "tflite-int8", "cortex-a53")
    first = {"op": "MUL", "tensor": "scaled", "before": 3, "of": 9}
    cells[key] = cell(*key[1:], key[0], difference=0.25, first=first)
    text = arm_parity.document(cells, "10.0.13")
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert len(lines) == len(arm_parity.ROWS) * len(arm_parity.CPUS)
    assert sum(word.strip("| ") == "same" for line in lines for word in line) == len(cells) - 1
    (changed,) = [line for line in lines if "**2.5e-01**" in line]
    assert changed[:3] == ["| `resnet18.torchvision`", "64", "cortex-a53"]
    assert "1 of 144 cells" in text and "72 of 72 runs" in text
    assert "| tflite-int8 | MUL | resnet18 |" in text
    assert "LiteRT 2.3.0" in text and "ONNX Runtime 1.31.1" in text and "QEMU 10.0.13" in text


def test_the_document_is_not_written_from_results_that_are_not_whole(run):
    run()
    with pytest.raises(UsageError, match="has not all cells of mobilenet_v2.keras, mobilenet_v3_large.keras"):
        run(doc=True)


@pytest.mark.slow
@pytest.mark.parametrize("cpu", arm_parity.CPUS)
def test_int8_is_the_same_on_arm64(cold_export, cpu):
    if not (arm_parity.PEER / "complete").is_file():
        pytest.skip("no emulated ARM64 computer; run scripts/peer_arm")
    files = [cold_export[0] / "lenet5" / f"lenet5-int8.{format}" for format in ("tflite", "onnx")]
    here = arm_parity.answers(HERE, PICTURES, files)
    there = arm_parity.answers([arm_parity.PEER / "python"], PICTURES, files, {"QEMU_CPU": cpu})
    for file in files:
        one, other = here[file.name], there[file.name]
        assert other["machine"] == "aarch64" and arm_parity.CPUS[cpu] <= set(other["features"])
        np.testing.assert_array_equal(one["outputs"][0], other["outputs"][0])
    assert there[files[0].name]["delegation"]["partitions"] >= 1


def test_the_script_says_what_is_wrong_in_one_line():
    script = [sys.executable, ROOT / "scripts" / "arm_parity", "nothing"]
    done = subprocess.run(script, capture_output=True, text=True, env={"PATH": "", "HOME": "/nowhere"})
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "no row is named nothing" in done.stderr
