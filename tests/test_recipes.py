"""The table of recipes, and files made by each."""

import dataclasses
import json

import command
import numpy as np
import pytest

from edgecls import artifact, runtimes, verification
from edgecls.errors import UnknownName, UsageError
from edgecls.exporters import adoption, onnx, source, tflite
from edgecls.exporters.measured import Figures
from edgecls.exporters.recipe import FORMATS, IO_TYPES, MEASURED_ON, PRECISIONS, RECIPES, Recipe, precisions_of, recipe_for
from edgecls.graph import read
from edgecls.graph.cost import cost
from edgecls.profiling.run import precision
from edgecls.runtimes import ort
from edgecls.verbs.export import _recipes

EXPORTERS = {"tflite": tflite, "onnx": onnx}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_is_and_what_it_costs(name):
    recipe = RECIPES[name]
    assert recipe_for(recipe.format, recipe.precision) is recipe and recipe.name == name
    assert set(recipe.io) <= set(IO_TYPES) and recipe.summary and recipe.choose
    assert len(recipe.figures) == len(MEASURED_ON)
    share = {"fp32": 1, "fp16": 0.5}.get(recipe.precision, 0.25)
    assert all(share <= each.size < share + 0.05 and each.time > 0 for each in recipe.figures)
    assert recipe.tolerance.ok_sqnr_db >= recipe.tolerance.min_sqnr_db > 0


def test_formats_have_the_recipes_that_their_runtimes_can_run():
    assert precisions_of(["tflite"]) == ("fp32", "fp16", "int8", "int8-weights", "dynamic", "int16x8")
    assert precisions_of(["onnx"]) == ("fp32", "fp16", "int8", "int8-dynamic")
    assert precisions_of(FORMATS) == PRECISIONS


def test_tolerances_are_of_their_own_and_looser_for_fewer_bits():
    for format in FORMATS:
        fp32, fp16, int8 = (recipe_for(format, each).min_sqnr_db for each in ("fp32", "fp16", "int8"))
        assert fp32 > fp16 > int8 > 0
        loose = recipe_for(format, "int8").tolerance_of(per_tensor=True)
        assert 0 < loose.min_sqnr_db < int8
        assert recipe_for(format, "fp16").tolerance_of(per_tensor=True).min_sqnr_db == fp16


def test_a_recipe_slower_than_float_says_so(monkeypatch):
    known = RECIPES["tflite-fp16"]

    def slower(*times):
        figures = tuple(Figures(size=0.5, time=time, sqnr_db=60.0) for time in times)
        monkeypatch.setattr(Recipe, "figures", figures)
        return known.slower

    assert slower(1.1, 1.1, 61.4) is None  # as most are not
    assert slower(61.4, 1.0, 1.5) == (
        f"tflite-fp16 takes longer than float on a CPU: 61 times on {MEASURED_ON[0]}, 1.5 times on {MEASURED_ON[2]}"
    )
    monkeypatch.undo()
    assert "times on mobilenet_v2" in RECIPES["tflite-int16x8"].slower


def chosen(formats, precisions, *, io=None, per_tensor=False):
    """(names of recipes, notes)."""
    notes = []
    found = _recipes(source.resolve("lenet5", weights="random"), formats, precisions, io, per_tensor, notes.append)
    return [recipe.name for recipe in found], notes


def test_what_only_one_format_has_is_made_for_that_one():
    made, notes = chosen(None, ["int16x8"])
    assert made == ["tflite-fp32", "tflite-int16x8"]
    assert notes[0] == "int16x8 cannot be made for .onnx" and "longer than float" in notes[1]
    made, notes = chosen(["tflite", "onnx"], ["int8-dynamic", "fp16"])
    assert made == ["tflite-fp32", "tflite-fp16", "onnx-fp32", "onnx-fp16", "onnx-int8-dynamic"]
    assert notes[0] == "int8-dynamic cannot be made for .tflite"
    assert chosen(None, ["fp32"]) == (["tflite-fp32", "onnx-fp32"], [])


def test_what_no_format_wanted_has_is_an_error_that_lists_what_they_have():
    with pytest.raises(UsageError, match="no int16x8 for .onnx; it can be fp32, fp16, int8, int8-dynamic$"):
        chosen(["onnx"], ["fp32", "int16x8"])
    with pytest.raises(UnknownName, match="unknown recipe 'int4'; did you mean int8?"):
        chosen(None, ["int4"])


def test_types_of_the_ends_and_scales_are_for_what_has_a_choice():
    assert chosen(["tflite"], ["fp16", "int8"], io="int8", per_tensor=True)[0][-1] == "tflite-int8"
    with pytest.raises(UsageError, match="--io uint8 is for int8 files; add --int8"):
        chosen(None, ["int16x8"], io="uint8")
    with pytest.raises(UsageError, match="--per-tensor is for recipes int8 and int16x8"):
        chosen(None, ["fp16", "dynamic"], per_tensor=True)
    with pytest.raises(UsageError, match="onnx-int8 cannot have int8 input and output"):
        chosen(None, ["int8"], io="int8")


@pytest.fixture(scope="module")
def floats(cold_export, tmp_path_factory):
    """By format: (the float file, inputs, its logits), and a folder with the inputs as a file."""
    folder, found = tmp_path_factory.mktemp("recipes"), {}
    rng = np.random.default_rng(0)
    for format in FORMATS:
        path = cold_export[0] / "lenet5" / f"lenet5-fp32.{format}"
        session = runtimes.open(path)
        inputs = np.clip(rng.normal(size=(24, *session.inputs[0].shape)), -1, 1).astype(np.float32)
        np.save(folder / f"{format}.npy", inputs)
        found[format] = path, inputs, verification.logits(session, inputs)
    return found, folder


@pytest.mark.parametrize("name", [name for name in RECIPES if not name.endswith("fp32")])
def test_a_file_made_by_it_runs_agrees_and_counts_the_same(floats, name, monkeypatch):
    (found, folder), recipe = floats, RECIPES[name]
    path, inputs, right = found[recipe.format]
    target = folder / f"{recipe.precision}.{recipe.format}"
    arguments = recipe.precision, str(folder / f"{recipe.format}.npy"), (-1.0, 1.0), "float32", lambda event: None
    said = EXPORTERS[recipe.format].quantize(str(path), str(target), *arguments, lowered_by=())
    assert said == {"ends": {}, "lowerings": [], "notes": []}
    for overflows in (True, False):  # the settings for x86 without VNNI, too
        monkeypatch.setattr(ort, "overflows", lambda cpu, told=overflows: told)
        ratio = verification.sqnr_db(right, verification.logits(runtimes.open(target), inputs))
        assert recipe.tolerance.min_sqnr_db <= ratio < 90
    graph, wide = read(target), cost(read(path))
    counted = cost(graph)
    assert (counted.macs, counted.params) == (wide.macs, wide.params)
    assert precision(graph) == recipe.precision
    assert target.stat().st_size < 0.6 * path.stat().st_size
    assert (counted.float_ops == ()) == recipe.calibrated
    with pytest.raises(UsageError, match="is quantized already|is in float16"):  # nothing is made of it again
        getattr(adoption, f"adopt_{recipe.format}")(str(target), str(folder / "again"), None, lambda event: None)


def test_biases_beside_weights_that_are_all_but_zero_keep_their_value(tmp_path, monkeypatch):
    import graph_files

    kernel, bias = np.ones((2, 1, 1, 3), np.float32), np.array([0.5, 2.0], np.float32)
    kernel[1] = 1e-12
    shapes = {"image": (1, 2, 2, 3), "logits": (1, 2, 2, 2)}
    path = graph_files.write(
        tmp_path / "net.tflite",
        [("CONV_2D", "image kernel bias", "logits", ("Conv2DOptions", {"strideH": 1, "strideW": 1}))],
        shapes | {"kernel": kernel, "bias": bias},
        inputs="image",
        outputs="logits",
    )
    held = np.random.default_rng(0).uniform(-1, 1, (8, 1, 2, 2, 3)).astype(np.float32)
    np.save(tmp_path / "pictures.npy", held)
    right = verification.logits(runtimes.open(path), held)

    def ratio(which):
        target = tmp_path / f"{which}.tflite"
        arguments = which, str(tmp_path / "pictures.npy"), (-1.0, 1.0), "float32", lambda event: None
        tflite.quantize(str(path), str(target), *arguments)
        return verification.sqnr_db(right, verification.logits(runtimes.open(target), held))

    assert ratio("int8") > 35 and ratio("int16x8") > 40
    monkeypatch.setattr(tflite, "_weights_of_biased_channels", lambda *_: {})
    assert ratio("int8") < 10 and ratio("int16x8") < 10


def test_the_command_explains_them():
    done = command.edgecls("recipes")
    header, *rows = done.stdout.splitlines()
    assert done.returncode == 0 and len(rows) == len(RECIPES)
    assert header.split()[:3] == ["recipe", "format", "size"]
    for row, recipe in zip(rows, RECIPES.values(), strict=True):
        assert row.split()[:2] == [recipe.precision, recipe.format] and row.endswith(recipe.choose)
    listed = json.loads(command.edgecls("recipes", "--json").stdout)
    assert [one["name"] for one in listed] == list(RECIPES)
    figures = [dataclasses.asdict(each) for each in RECIPES["tflite-int8"].figures]
    assert listed[2]["measured"] == dict(zip(MEASURED_ON, figures, strict=True))


def test_the_manifest_says_how_ranges_were_found(cold_export):
    info = artifact.load(cold_export[0] / "lenet5" / "lenet5-int8.tflite").manifest.calibration
    assert info.method == "min-max"
    assert info.pixels.min == 0 and info.pixels.max == 255
    assert info.inputs.min < info.inputs.mean < info.inputs.max
