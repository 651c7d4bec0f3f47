"""`edgecls export` of an architecture, as a command: what is written, what is said, and what is not done twice."""

import json
import os
import re
import subprocess
import sys

import command
import numpy as np
import pytest
from test_layering import FRAMEWORKS

import edgecls
from edgecls import artifact, images, registry, runtimes, synthetic, verification
from edgecls.exporters import calibration
from edgecls.exporters.calibration import SYNTHETIC_SAMPLES as SAMPLES
from edgecls.exporters.recipe import FORMATS, recipe_for
from edgecls.graph import read

#: What `cold_export` makes.
PRECISIONS = ("fp32", "fp16", "int8")
NAMES = [f"lenet5-{precision}.{format}" for precision in PRECISIONS for format in FORMATS]
UNTRAINED = (
    "untrained: random weights of seed 0, since nobody publishes any that fit lenet5.paper; "
    "size and speed are real, answers are not"
)
SYNTHETIC = "calibrated on synthetic pictures; give photographs with --calibration before it is used"


def load(folder, name) -> artifact.Artifact:
    return artifact.load(folder / "lenet5" / name)


def test_an_export_writes_each_file_and_its_manifest_and_nothing_else(cold_export):
    folder, done = cold_export
    assert done.returncode == 0, done.stderr
    assert set(command.files(folder)) == {
        "lenet5",
        "lenet5/lenet5-reference.npz",
        *(f"lenet5/{name}" for name in NAMES),
        *(f"lenet5/{name}.json" for name in NAMES),
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_says_what_the_file_is(cold_export, name):
    folder, _ = cold_export
    manifest, spec = load(folder, name).manifest, registry.get("lenet5")
    precision, format = manifest.precision, manifest.format
    assert name == manifest.file == f"lenet5-{precision}.{format}"
    recipe = recipe_for(format, precision)
    assert manifest.recipe == recipe.name
    model = manifest.model
    assert (model.name, model.source, model.reference) == ("lenet5.paper", "paper", spec.reference)
    assert (model.classes, model.input_size, model.tier) == (10, (32, 32), "light")
    assert (model.params, model.macs) == (spec.params, spec.macs)
    assert (manifest.weights.source, manifest.weights.trained, manifest.weights.seed) == ("random", False, 0)
    assert (manifest.layout, manifest.preprocess, manifest.labels) == ("NHWC", spec.preprocess, None)
    assert manifest.options["model"] == "lenet5.paper" and manifest.options["classes"] == 10
    assert {"keras", "onnx", "onnxruntime", "litert-quantizer", "numpy"} <= set(manifest.tools)
    assert 0 < manifest.seconds < 300 and len(manifest.fingerprint) == 64


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_says_how_the_file_is_fed(cold_export, name):
    folder, _ = cold_export
    found = load(folder, name)
    manifest, session = found.manifest, runtimes.open(found.path)
    ends = {"input": ("image", (1, 32, 32, 1)), "output": ("logits", (1, 10))}
    types = {"input": session.inputs[0], "output": session.outputs[0]}
    for end, (tensor_name, shape) in ends.items():
        tensor = getattr(manifest, end)
        assert (tensor.name, tensor.shape, tensor.dtype) == (tensor_name, shape, types[end].dtype)
        assert tensor == types[end]
    uint8 = name == "lenet5-int8.tflite"
    assert manifest.input.dtype == manifest.output.dtype == ("uint8" if uint8 else "float32")
    if uint8:  # pixels as they are: what white is to this net over 255
        low, high = manifest.preprocess.value_range
        assert manifest.input.scale == pytest.approx((high - low) / 255, rel=1e-6)
        assert manifest.input.zero_point == round(-low / manifest.input.scale)


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_says_what_the_file_was_made_from_and_how_well(cold_export, name):
    folder, _ = cold_export
    manifest = load(folder, name).manifest
    agreement, recipe = manifest.agreement, recipe_for(manifest.format, manifest.precision)
    assert agreement.verdict != "BROKEN" and agreement.tolerance == recipe.tolerance
    assert agreement.sqnr_db > recipe.min_sqnr_db and 0 <= agreement.max_error < 3 and 0.5 < agreement.top1 <= 1
    assert (agreement.samples, agreement.pictures) == (32, "32 pictures of synthetic that calibration did not see")
    if manifest.precision == "int8":
        assert (manifest.calibration.source, manifest.calibration.count) == ("synthetic", SAMPLES)
        assert manifest.calibration.seed == 0 and re.fullmatch("[0-9a-f]{64}", manifest.calibration.digest)
        assert manifest.notes == (UNTRAINED, SYNTHETIC)
    else:
        assert manifest.calibration is None and manifest.notes == (UNTRAINED,)
    assert manifest.float_ops == ()


def test_every_file_computes_what_the_float_file_computes(cold_export):
    folder, _ = cold_export
    pixels = synthetic.pictures(16, 32, channels=1, seed=5)
    pictures = images.normalise(pixels, registry.get("lenet5").preprocess)[:, None]
    answers = {name: verification.logits(runtimes.open(folder / "lenet5" / name), pictures) for name in NAMES}
    reference = answers["lenet5-fp32.tflite"]
    for name in NAMES[1:]:
        least = load(folder, name).manifest.agreement.tolerance.min_sqnr_db
        assert verification.sqnr_db(reference, answers[name]) > least, name


def test_sizes_are_those_of_the_precisions(cold_export):
    folder, _ = cold_export
    for format in FORMATS:
        fp32, fp16, int8 = (load(folder, f"lenet5-{precision}.{format}").manifest.bytes for precision in PRECISIONS)
        assert fp32 > 4 * 61_706
        assert 0.45 < fp16 / fp32 < 0.6
        assert 0.25 < int8 / fp32 < 0.35


def test_an_int8_file_holds_integers(cold_export):
    folder, _ = cold_export
    graph = read(folder / "lenet5" / "lenet5-int8.tflite")
    assert {tensor.dtype for tensor in graph.tensors.values()} <= {"int8", "uint8", "int32"}


def test_standard_output_is_the_table_and_standard_error_the_notes(cold_export):
    folder, done = cold_export
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["file", "weights", "MB", "of", "float", "SQNR", "dB", "top-1", "same", "verdict", "seconds"]
    assert [row.split()[0] for row in rows] == [
        f"{folder}/lenet5/lenet5-{precision}.{format}" for format in FORMATS for precision in PRECISIONS
    ]
    for row in rows:
        _, weights, megabytes, ratio, decibels, top1, verdict, seconds = row.split()
        manifest = artifact.load(row.split()[0]).manifest
        assert weights == "untrained"
        assert float(megabytes) == pytest.approx(manifest.bytes / 1e6, abs=0.005)
        assert float(ratio) == (1.0 if manifest.precision == "fp32" else pytest.approx(0.4, abs=0.2))
        assert float(decibels) == pytest.approx(manifest.agreement.sqnr_db, abs=0.05)
        assert float(top1.rstrip("%")) == pytest.approx(100 * manifest.agreement.top1, abs=0.5)
        assert verdict == manifest.agreement.verdict
        assert float(seconds) == pytest.approx(manifest.seconds, abs=0.05)
    assert done.stderr.splitlines() == [
        f"note: {UNTRAINED}",
        f"note: {SYNTHETIC}",
        f"next: edgecls profile lenet5 --artifacts {folder}",
    ]


@pytest.fixture(scope="module")
def exported_again(tmp_path_factory):
    """The same export by the Python API, in another process."""
    folder = tmp_path_factory.mktemp("again")
    code = "import edgecls, sys; edgecls.export('lenet5', precisions=['int8', 'fp16'], out=sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_two_cold_exports_give_the_same_bytes(cold_export, exported_again, name):
    (first, _), second = cold_export, exported_again
    assert (first / "lenet5" / name).read_bytes() == (second / "lenet5" / name).read_bytes()
    manifests = [json.loads((folder / "lenet5" / f"{name}.json").read_text()) for folder in (first, second)]
    for manifest in manifests:
        assert manifest.pop("seconds") > 0
    assert manifests[0] == manifests[1]


def test_what_is_up_to_date_is_not_made_again(exported):
    before = command.files(exported)
    arguments = "export", "lenet5", "--int8", "--fp16", "--out", exported
    times = []
    for _ in range(3):
        start = os.times()
        done = command.edgecls(*arguments)
        end = os.times()
        times.append(end.children_user - start.children_user + end.children_system - start.children_system)
        assert done.returncode == 0
        assert [row.split()[-3:] for row in done.stdout.splitlines()[1:]] == [["up", "to", "date"]] * 6
    assert min(times) < 1.0
    assert command.files(exported) == before


def test_what_is_up_to_date_loads_no_framework(exported):
    trace = [sys.executable, "-X", "importtime", "-m", "edgecls", "export", "lenet5", "--int8", "--out", exported]
    done = subprocess.run(trace, capture_output=True, text=True, check=True)
    assert done.stdout.count("up to date") == 4
    modules = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "typer" in modules  # the trace shows what was imported
    assert modules & FRAMEWORKS == set()


@pytest.fixture
def without_tensorflow(tmp_path):
    """The environment of a machine on which TensorFlow cannot be imported."""
    (tmp_path / "poison").mkdir()
    (tmp_path / "poison" / "tensorflow.py").write_text("raise ImportError('TensorFlow was imported')")
    return command.with_path(tmp_path / "poison")


def test_other_precisions_are_made_of_the_float_files_without_tensorflow(exported, without_tensorflow):
    for path in exported.rglob("*"):
        if "fp16" in path.name or "int8" in path.name:
            path.unlink()
    floats = command.files(exported)
    done = command.edgecls("export", "lenet5", "--int8", "--fp16", "--out", exported, env=without_tensorflow)
    assert done.returncode == 0, done.stderr
    assert [row.endswith("up to date") for row in done.stdout.splitlines()[1:]] == [True, False, False] * 2
    after = command.files(exported)
    assert floats.items() <= after.items() and len(after) == 14


def test_their_files_are_those_of_an_export_of_all_at_once(exported, cold_export):
    (exported / "lenet5" / "lenet5-int8.tflite").unlink()
    (exported / "lenet5" / "lenet5-fp16.onnx.json").unlink()
    assert command.edgecls("export", "lenet5", "--int8", "--fp16", "--out", exported).returncode == 0
    for name in NAMES:
        assert (exported / "lenet5" / name).read_bytes() == (cold_export[0] / "lenet5" / name).read_bytes()


def test_force_makes_everything_again(exported, without_tensorflow):
    before = command.files(exported)
    arguments = "export", "lenet5", "--out", exported, "--format", "tflite"
    done = command.edgecls(*arguments, "--force", env=without_tensorflow)
    assert done.returncode == 1 and "TensorFlow was imported" in done.stderr
    assert command.files(exported) == before


@pytest.mark.parametrize("options", [["--seed", "1"], ["--classes", "11"], ["--input-size", "33"]])
def test_another_model_is_made_anew(exported, without_tensorflow, options):
    arguments = "export", "lenet5", "--out", exported, "--format", "tflite"
    assert command.edgecls(*arguments, env=without_tensorflow).returncode == 0
    done = command.edgecls(*arguments, *options, env=without_tensorflow)
    assert done.returncode == 1 and "TensorFlow was imported" in done.stderr


@pytest.mark.parametrize("options", [["--samples", "20"], ["--io", "float32"]])
def test_other_options_of_int8_make_int8_alone_anew(exported, options):
    before = load(exported, "lenet5-int8.tflite").manifest
    done = command.edgecls("export", "lenet5", "--int8", "--format", "tflite", "--out", exported, *options)
    assert [row.endswith("up to date") for row in done.stdout.splitlines()[1:]] == [True, False]
    after = load(exported, "lenet5-int8.tflite").manifest
    if options[0] == "--samples":
        assert (before.calibration.count, after.calibration.count) == (SAMPLES, 20)
        assert before.calibration.digest != after.calibration.digest
    else:
        assert (before.input.dtype, after.input.dtype, after.output.dtype) == ("uint8", "float32", "float32")


def test_a_file_that_was_damaged_is_made_again(exported):
    path = exported / "lenet5" / "lenet5-fp16.tflite"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"?")
    done = command.edgecls("export", "lenet5", "--fp16", "--format", "tflite", "--out", exported)
    assert [row.endswith("up to date") for row in done.stdout.splitlines()[1:]] == [True, False]
    assert path.read_bytes() == whole


def test_verbose_shows_what_converters_print(exported):
    arguments = "export", "lenet5", "--int8", "--format", "tflite", "--out", exported, "--samples", "16"
    done = command.edgecls(*arguments, "--verbose")
    assert done.returncode == 0
    assert "Quantization Ratio" in done.stderr and f"note: {SYNTHETIC}" in done.stderr
    assert done.stdout.startswith("file ") and len(done.stdout.splitlines()) == 3


def test_an_artifact_that_does_not_agree_is_marked_and_fails(exported, tmp_path):
    # Calibrated on black pictures, every range is much too narrow for the others, which judge.
    pixels = np.random.default_rng(0).integers(256, size=(132, 32, 32, 1), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    plan = calibration.plan(tmp_path / "pixels.npy", preprocess=registry.get("lenet5").preprocess)
    pixels[list(plan.chosen)] = 0
    np.save(tmp_path / "pixels.npy", pixels)
    arguments = "export", "lenet5", "--int8", "--format", "tflite", "--out", exported
    for made in (True, False):  # what is up to date and wrong is still wrong
        done = command.edgecls(*arguments, "--calibration", tmp_path / "pixels.npy")
        assert done.returncode == 1
        manifest = load(exported, "lenet5-int8.tflite").manifest
        assert manifest.agreement.verdict == "BROKEN"
        (reason,) = (note for note in manifest.notes if "BROKEN" in note)
        assert re.fullmatch(
            r"lenet5-int8.tflite: BROKEN: -?[\d.]+ dB, at least 8 dB wanted; [\d.]+% of the values of tensor \S+ are "
            r"beyond its range; the same best class on \d+% of the pictures; calibrate on pictures like those that it "
            r"will see: --calibration DIR",
            reason,
        )
        assert f"note: {reason}" in done.stderr.splitlines()
        assert done.stderr.splitlines()[-1] == (
            "edgecls: lenet5-int8.tflite: does not agree with the float model; see `notes` in its manifest"
        )
        assert re.search(r"int8.tflite .* BROKEN", done.stdout)
        assert done.stdout.rstrip().endswith("up to date") is not made


def test_help_names_every_option():
    done = command.edgecls("export", "--help")
    for option in (
        *("--int8", "--fp16", "--format", "--weights", "--calibration", "--samples", "--preprocess"),
        *("--classes", "--input-size", "--io", "--seed", "--out", "--force", "--verbose"),
    ):
        assert option in done.stdout


def test_the_api_has_the_verb():
    assert edgecls.export.__module__ == "edgecls.verbs.export"
