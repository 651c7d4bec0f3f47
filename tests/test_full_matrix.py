"""scripts/full_matrix: what it plans, what it calls ok, and that it goes on where it stopped."""

import argparse
import dataclasses
import importlib.util
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from edgecls import artifact, registry
from edgecls.errors import WorkFailed

loader = SourceFileLoader("full_matrix", str(Path(__file__).resolve().parent.parent / "scripts" / "full_matrix"))
full_matrix = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
loader.exec_module(full_matrix)

ROW = registry.get("lenet5")
CELLS = [(format, precision) for format in ("tflite", "onnx") for precision in ("fp32", "int8")]
#: The cheapest row of each family.
FAMILIES = {row.family.name: row for row in sorted(registry.rows()[::-1], key=lambda row: -row.macs)}


@pytest.fixture
def files(cold_export):
    """{(format, precision): artifact of ROW}"""
    folder, _ = cold_export
    return {(f, p): artifact.load(folder / "lenet5" / f"lenet5-{p}.{f}") for f, p in CELLS}


def test_every_row_is_planned_once_and_one_of_each_source_first():
    plan = full_matrix.matrix()
    rows = [row for row, _ in plan]
    assert {row.key for row in rows} == {row.key for row in registry.rows()}
    assert len(rows) == len(registry.rows())
    sources = [(row.family.name, row.source) for row in rows]
    assert len(set(sources[: len(set(sources))])) == len(set(sources))


def test_light_rows_and_one_of_each_heavy_family_are_planned_in_int8():
    int8 = {row.key for row, cells in full_matrix.matrix() if cells == CELLS}
    float_alone = {row.key for row, cells in full_matrix.matrix() if cells == CELLS[::2]}
    light = {row.key for row in registry.select(tier="light")}
    assert int8 == light | {row.key for row in FAMILIES.values()}
    assert float_alone == {row.key for row in registry.rows()} - int8


def test_a_good_cell_is_ok(files):
    record = full_matrix.judge(ROW, files["tflite", "fp32"], peak=5)
    assert (record["ok"], record["reason"], record["macs"], record["peak_memory"]) == (True, None, ROW.macs, 5)
    assert record["ops"]["CONV_2D"] == 3


@pytest.mark.parametrize(
    ("part", "changed", "reason"),
    [
        ("model", {"macs": 1}, "MACs: 416520 declared, 1 in Keras, 416520 in the file"),
        ("model", {"folded_params": 1}, "params: 1 in Keras once folded, 61706 in the file"),
        ("agreement", {"verdict": "BROKEN", "reason": "far off"}, "far off"),
    ],
)
def test_a_file_that_is_not_what_its_manifest_says_is_not_ok(files, part, changed, reason):
    file = files["onnx", "fp32"]
    manifest = dataclasses.replace(
        file.manifest, **{part: dataclasses.replace(getattr(file.manifest, part), **changed)}
    )
    record = full_matrix.judge(ROW, dataclasses.replace(file, manifest=manifest), peak=0)
    assert (record["ok"], record["reason"]) == (False, reason)


def test_a_file_of_other_macs_than_the_row_is_not_ok(files):
    record = full_matrix.judge(dataclasses.replace(ROW, macs=1), files["onnx", "fp32"], peak=0)
    assert record["reason"] == "MACs: 1 declared, 416520 in Keras, 416520 in the file"


def test_a_failure_is_that_of_its_own_cell(files, monkeypatch, tmp_path):
    def export(name, *, formats, precisions, weights, out):
        if "onnx" in formats and "int8" in precisions:
            raise WorkFailed("no such luck")
        return [files[format, precision] for format in formats for precision in precisions]

    monkeypatch.setattr(full_matrix.edgecls, "export", export, raising=False)
    records = full_matrix.make(ROW, CELLS, tmp_path, cap=1e12)
    assert [record["ok"] for record in records] == [True, True, True, False]
    assert records[-1]["reason"] == "no such luck"
    assert "FAILED no such luck" in full_matrix.line(records[-1])


def test_children_that_pass_the_memory_are_stopped(monkeypatch, tmp_path):
    def export(name, **_):
        subprocess.run([sys.executable, "-c", "import time; x = b'1' * 200_000_000; time.sleep(60)"], check=False)
        raise WorkFailed("it died")

    monkeypatch.setattr(full_matrix.edgecls, "export", export, raising=False)
    with subprocess.Popen(["sleep", "60"]) as other:
        with pytest.raises(WorkFailed, match="passed --memory 0.1 GB"):
            full_matrix.attempt(ROW, CELLS, tmp_path, cap=0.1e9)
        assert other.poll() is None  # not of the export's
        other.kill()


def run(results, outcomes, monkeypatch, mark="today's code"):
    """(exit code, cells that were made) where `outcomes` says which formats are ok."""
    made = []

    def make(row, cells, folder, cap):
        made.extend(cells)
        return [{"row": row.key, "format": f, "precision": p, "ok": outcomes[f], "reason": "a reason"} for f, p in cells]

    monkeypatch.setattr(full_matrix, "make", make)
    monkeypatch.setattr(full_matrix, "fingerprint", lambda: mark)
    options = argparse.Namespace(patterns=["lenet5"], tier=None, memory=1.0, keep=None, results=results)
    return full_matrix.main(options), made


def test_cells_that_were_ok_are_not_made_again(monkeypatch, tmp_path):
    results = tmp_path / "new" / "results.jsonl"
    assert run(results, {"tflite": True, "onnx": False}, monkeypatch) == (1, CELLS)
    assert run(results, {"tflite": True, "onnx": True}, monkeypatch) == (0, CELLS[2:])
    assert run(results, {}, monkeypatch) == (0, [])
    assert run(results, {"tflite": True, "onnx": True}, monkeypatch, mark="tomorrow's") == (0, CELLS)


@pytest.mark.slow
@pytest.mark.parametrize("row", FAMILIES.values(), ids=lambda row: row.key)
def test_a_row_of_each_family_is_ok_in_every_cell(row, tmp_path):
    records = full_matrix.make(row, CELLS, tmp_path, cap=16e9)
    assert [record["reason"] for record in records] == [None] * len(CELLS)
