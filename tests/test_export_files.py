"""`edgecls.export` of models of the user's own, of weights files, and with pictures to calibrate on."""

import nets
import numpy as np
import pytest
import tiny
from PIL import Image
from test_adoption import torch_like

import edgecls
from edgecls import artifact, builder, registry, runtimes, synthetic, verification
from edgecls.errors import UsageError
from edgecls.exporters.calibration import SYNTHETIC_SAMPLES
from edgecls.exporters.recipe import FORMATS
from edgecls.spec import PREPROCESS

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.usefixtures("inline")

SCALED = "synthetic pictures were scaled to -1..1; --preprocess says what the model takes"
PRECISIONS = ("fp32", "fp16", "int8")
SYNTHETIC = "calibrated on synthetic pictures; give photographs with --calibration before it is used"


def export(target, folder, *precisions, **options) -> dict[str, artifact.Artifact]:
    """What was made, by the end of its name; all of it agrees with its float model."""
    made = edgecls.export(target, precisions=precisions or ["fp32"], out=folder / "out", **options)
    for one in made:
        assert one.manifest.agreement.passed, one.path
        assert artifact.load(one.path) == one
    return {one.path.name.rpartition("-")[2]: one for one in made}


def said(manifest) -> tuple[str, ...]:
    """Notes, but neither what is likely of such nets, the verdict on so small a one, nor its padding."""
    left_out = (": CAUTION: ", " of a net with ", "zeros included")
    return tuple(note for note in manifest.notes if not any(words in note for words in left_out))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """One Keras model in three kinds of files: (model, folder)."""
    folder = tmp_path_factory.mktemp("saved")
    model = nets.net()
    model.save(folder / "mine.keras")
    model.save(folder / "mine.h5")
    model.export(folder / "mine", verbose=False)
    return model, folder


@pytest.mark.parametrize("name", ["mine.keras", "mine.h5", "mine"])
def test_a_keras_model_becomes_every_format_and_precision(saved, tmp_path, name):
    model, folder = saved
    made = export(folder / name, tmp_path, *PRECISIONS, preprocess="tf")
    assert list(made) == [f"{precision}.{format}" for format in FORMATS for precision in PRECISIONS]
    assert {one.path.parent for one in made.values()} == {tmp_path / "out" / "mine"}
    wanted = np.concatenate([np.asarray(model(picture, training=False)) for picture in nets.pictures()])
    for one in made.values():
        manifest = one.manifest
        assert (manifest.model.name, manifest.model.source) == ("mine", "file")
        assert (manifest.model.reference, manifest.model.tier) == (str(folder / name), None)
        assert (manifest.model.classes, manifest.model.input_size) == (nets.CLASSES, (nets.SIZE, nets.SIZE))
        assert manifest.weights.trained and len(manifest.weights.sha256) == 64
        assert (manifest.preprocess, manifest.layout) == (PREPROCESS["tf"].at(nets.SIZE), "NHWC")
        told = ["mine takes any number of pictures at once; the files made of it take one"] * (name == "mine")
        assert manifest.model.notes == tuple(told)
        assert said(manifest) == (*told, *[SYNTHETIC] * (manifest.precision == "int8"))
        if manifest.precision != "int8" or manifest.format == "tflite":
            found = verification.logits(runtimes.open(one.path), nets.pictures())
            least = {"fp32": 100, "fp16": 40, "int8": 15}[manifest.precision]
            assert verification.sqnr_db(wanted, found) > least
        if name != "mine":  # a SavedModel is one function, whose layers cannot be counted
            assert manifest.model.params == model.count_params() - 16  # moving mean and variance of 8 channels
            assert manifest.model.macs == 8 * 8 * 8 * (27 + 9) + 8 * nets.CLASSES


def test_a_saved_model_is_counted_in_its_files(saved, tmp_path):
    model, folder = saved
    for one in export(folder / "mine", tmp_path).values():
        assert one.manifest.model.params is None
        assert one.manifest.model.folded_params == 8 * (27 + 1) + 8 * (9 + 1) + nets.CLASSES * (8 + 1)
        assert one.manifest.model.macs == 8 * 8 * 8 * (27 + 9) + 8 * nets.CLASSES


@pytest.mark.parametrize("format", FORMATS)
def test_float_files_are_quantized_as_the_model_they_were_made_of(saved, tmp_path, format):
    _, folder = saved
    first = export(folder / "mine.keras", tmp_path, "int8", preprocess="tf")
    again = export(first[f"fp32.{format}"].path, tmp_path / "again", "int8", preprocess="tf")
    assert list(again) == [f"fp32.{format}", f"int8.{format}"]
    assert again[f"int8.{format}"].path == tmp_path / "again" / "out" / "mine-fp32" / f"mine-fp32-int8.{format}"
    manifest = again[f"fp32.{format}"].manifest
    assert manifest.agreement.sqnr_db is None or manifest.agreement.sqnr_db > 120
    assert (manifest.model.params, manifest.layout) == (None, "NHWC")
    assert manifest.model.macs == first[f"fp32.{format}"].manifest.model.macs
    answers = [
        verification.logits(runtimes.open(made[f"fp32.{format}"].path), nets.pictures()) for made in (first, again)
    ]
    assert answers[1] == pytest.approx(answers[0], abs=1e-5)
    sqnrs = [made[f"int8.{format}"].manifest.agreement.sqnr_db for made in (first, again)]
    assert sqnrs[0] == pytest.approx(sqnrs[1], abs=1.0)


def test_a_channels_first_onnx_file_stays_so(tmp_path):
    made = export(torch_like(tmp_path / "torch.onnx", batch="N"), tmp_path, *PRECISIONS, preprocess="torch")
    assert list(made) == [f"{precision}.onnx" for precision in PRECISIONS]
    for one in made.values():
        assert (one.manifest.layout, one.manifest.input.shape) == ("NCHW", (1, 3, 12, 12))
        assert one.manifest.preprocess == PREPROCESS["torch"].at(12)
    assert made["int8.onnx"].manifest.float_ops == ()
    more = export(torch_like(tmp_path / "torch.onnx", batch="N"), tmp_path, "int8", preprocess="torch", io="uint8")
    assert (more["int8.onnx"].manifest.input.dtype, more["int8.onnx"].manifest.output.dtype) == ("uint8", "uint8")
    low, high = PREPROCESS["torch"].value_range
    assert more["int8.onnx"].manifest.input.scale == pytest.approx((high - low) / 255, rel=1e-5)


def test_a_model_that_scales_pixels_takes_them_as_they_are(tmp_path):
    nets.net(first=[keras.layers.Rescaling(1 / 127.5, -1)]).save(tmp_path / "mine.keras")
    made = export(tmp_path / "mine.keras", tmp_path, "int8")
    assert made["fp32.onnx"].manifest.preprocess == PREPROCESS["none"].at(nets.SIZE)
    tensor = made["int8.tflite"].manifest.input
    assert (tensor.dtype, tensor.scale, tensor.zero_point) == ("uint8", 1.0, 0)
    told = "mine.keras scales pixels itself: it takes them as they are, 0..255; --preprocess says otherwise"
    assert made["fp32.tflite"].manifest.notes == (told,)


@pytest.mark.parametrize("preprocess", [None, "tf", "unit"])
def test_a_gray_model_has_gray_preprocessing(tmp_path, preprocess):
    first = [] if preprocess else [keras.layers.Rescaling(1 / 255)]
    nets.net(channels=1, first=first).save(tmp_path / "digits.keras")
    made = export(tmp_path / "digits.keras", tmp_path, preprocess=preprocess, formats="tflite")
    found = made["fp32.tflite"].manifest.preprocess
    wanted = PREPROCESS[preprocess or "none"]
    assert (found.color, found.mean, found.std) == ("gray", wanted.mean[:1], wanted.std[:1])


def test_colour_preprocessing_does_not_fit_a_gray_model(tmp_path):
    nets.net(channels=1).save(tmp_path / "digits.keras")
    with pytest.raises(UsageError, match="the preprocessing makes 3 channels, the model takes 1"):
        export(tmp_path / "digits.keras", tmp_path, preprocess="torch")
    assert not (tmp_path / "out").exists()


def test_preprocessing_like_that_of_a_row(tmp_path):
    nets.net(channels=1).save(tmp_path / "digits.keras")
    made = export(tmp_path / "digits.keras", tmp_path, preprocess="like:lenet5", formats=["tflite"])
    assert made["fp32.tflite"].manifest.preprocess == registry.get("lenet5").preprocess.at(nets.SIZE)


def test_a_model_of_unknown_preprocessing_is_said_to_be_so(saved, tmp_path):
    made = export(saved[1] / "mine.keras", tmp_path, "int8", formats=["tflite"])
    assert said(made["int8.tflite"].manifest) == (SYNTHETIC, SCALED)
    assert made["fp32.tflite"].manifest.preprocess is None


def test_layers_that_cannot_be_counted_do_not_keep_a_model_from_being_exported(tmp_path):
    nets.net(middle=[keras.layers.PReLU(shared_axes=[1, 2])]).save(tmp_path / "mine.keras")
    manifest = export(tmp_path / "mine.keras", tmp_path, formats=["tflite"])["fp32.tflite"].manifest
    assert manifest.model.params is None and manifest.model.macs == 8 * 8 * 8 * (27 + 9) + 8 * nets.CLASSES


def test_a_model_that_ends_in_softmax_is_exported_as_it_is(tmp_path):
    nets.net(last="softmax").save(tmp_path / "mine.keras")
    made = export(tmp_path / "mine.keras", tmp_path, "int8", preprocess="tf")
    for one in made.values():
        answers = verification.logits(runtimes.open(one.path), nets.pictures()[:1])
        if one.manifest.precision == "fp32":
            assert answers.sum() == pytest.approx(1, abs=1e-5)


def test_an_op_that_stays_in_float_is_named(tmp_path):
    tiny.save_tflite(tmp_path / "mine.tflite", input_shape=(1, 1, 1, 3), then="COS")
    made = export(tmp_path / "mine.tflite", tmp_path, "int8", preprocess="tf")
    assert made["int8.tflite"].manifest.float_ops == ("logits",)
    assert "mine-int8.tflite computes in float: logits" in made["int8.tflite"].manifest.notes
    assert made["fp32.tflite"].manifest.float_ops == made["fp32.tflite"].manifest.notes == ()


@pytest.fixture
def photographs(tmp_path):
    """A folder of 60 pictures of different sizes, one of them broken, one not a picture."""
    folder = tmp_path / "photographs"
    (folder / "inner").mkdir(parents=True)
    for k, pixels in enumerate(synthetic.pictures(60, 40, channels=3, seed=9)):
        Image.fromarray(pixels[: 30 + k % 10]).save(folder / ("inner" if k % 2 else "") / f"{k:02}.png")
    (folder / "07.jpg").write_bytes(b"\xff\xd8 broken")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_folder_of_pictures_calibrates(saved, photographs, tmp_path):
    made = export(saved[1] / "mine.keras", tmp_path, "int8", preprocess="tf", calibration=photographs)
    manifest = made["int8.tflite"].manifest
    assert manifest.calibration == made["int8.onnx"].manifest.calibration
    assert (manifest.calibration.source, manifest.calibration.count) == (str(photographs), 60)
    assert manifest.calibration.skipped == (str(photographs / "07.jpg"),)
    assert said(manifest) == (f"{photographs / '07.jpg'} cannot be read and is left out",)
    assert manifest.agreement.pictures.startswith("32 of the calibration pictures")
    assert made["fp32.tflite"].manifest.calibration is None


def test_samples_and_seed_choose_the_pictures(saved, photographs, tmp_path):
    digests = set()
    for options in ({}, {"samples": 20}, {"samples": 20, "seed": 1}, {"samples": 20, "seed": 2}):
        options = {"calibration": photographs, "preprocess": "tf", "formats": "onnx", **options}
        manifest = export(saved[1] / "mine.keras", tmp_path, "int8", **options)["int8.onnx"].manifest
        digests.add(manifest.calibration.digest)
        if "samples" in options:
            assert 19 <= manifest.calibration.count <= 20
            assert manifest.agreement.pictures.endswith("that calibration did not see")
    assert len(digests) == 4


def test_few_pictures_are_a_warning(saved, photographs, tmp_path):
    options = {"calibration": photographs / "inner", "preprocess": "tf", "samples": 5, "formats": "onnx"}
    manifest = export(saved[1] / "mine.keras", tmp_path, "int8", **options)["int8.onnx"].manifest
    assert said(manifest) == ("only 5 calibration pictures; take 100, 16 at the least",)


def test_an_array_calibrates_without_preprocessing(saved, tmp_path):
    np.save(tmp_path / "inputs.npy", nets.pictures(40)[:, 0] * 2)
    made = export(saved[1] / "mine.keras", tmp_path, "int8", calibration=tmp_path / "inputs.npy", formats="tflite")
    manifest = made["int8.tflite"].manifest
    assert (manifest.calibration.count, said(manifest)) == (40, ())
    assert manifest.input.scale == pytest.approx(4 / 255, rel=0.01)


def test_weights_from_a_file_make_a_row_trained(tmp_path):
    model = builder.build("lenet5", weights="random", seed=3)
    model.save(tmp_path / "digits.keras")
    made = export("lenet5", tmp_path, weights=tmp_path / "digits.keras")
    for one in made.values():
        manifest = one.manifest
        assert manifest.weights.trained and manifest.weights.source == str(tmp_path / "digits.keras")
        assert manifest.weights.sha256 == artifact.sha256(tmp_path / "digits.keras")
        assert manifest.notes == ()
        pictures = nets.pictures(4, 1).repeat(2, axis=2).repeat(2, axis=3)
        wanted = np.concatenate([np.asarray(model(picture, training=False)) for picture in pictures])
        assert verification.sqnr_db(wanted, verification.logits(runtimes.open(one.path), pictures)) > 100


def test_a_row_that_is_not_the_first_of_its_name_has_its_full_name(tmp_path):
    options = {"input_size": 32, "classes": 7, "formats": "tflite"}
    made = export("mobilenet_v2_035.timm", tmp_path, **options)["fp32.tflite"]
    name = "mobilenet_v2_035.timm"
    assert made.path == tmp_path / "out" / name / f"{name}-fp32.tflite"
    model = made.manifest.model
    assert (model.name, model.source, model.classes, model.input_size) == (name, "timm", 7, (32, 32))
    assert made.manifest.output.shape == (1, 7)


def test_stages_notes_and_artifacts_are_told_as_they_come(saved, tmp_path):
    stages, told, order = [], [], []

    def on_stage(stage):
        stages.append(stage)
        order.append(stage.what)

    export(
        saved[1] / "mine.keras",
        tmp_path,
        "int8",
        preprocess="tf",
        on_stage=on_stage,
        on_note=order.append,
        on_artifact=lambda one, made: told.append((one.path.name, made)),
    )
    names = [f"mine-{precision}.{format}" for format in FORMATS for precision in ("fp32", "int8")]
    assert told == [(name, True) for name in names]
    assert {stage.model for stage in stages} == {"mine"} and {stage.format for stage in stages} == set(FORMATS)
    assert {"build", "freeze", "convert", "make int8", "calibrate", "verify"} <= {stage.what for stage in stages}
    advice = [one for one in order if " of a net with depthwise convolutions: " in one]
    assert [one.partition(" ")[0] for one in advice] == ["tflite-int8", "onnx-int8"]
    assert max(map(order.index, advice)) < order.index("calibrate")
    counted = [(stage.done, stage.total) for stage in stages if stage.format == "tflite" and stage.total]
    assert counted == [(done, SYNTHETIC_SAMPLES) for done in range(1, SYNTHETIC_SAMPLES + 1)]


def test_one_word_is_as_good_as_a_list(saved, tmp_path):
    made = edgecls.export(saved[1] / "mine.keras", precisions="int8", formats="onnx", out=tmp_path)
    assert [one.path.name for one in made] == ["mine-fp32.onnx", "mine-int8.onnx"]


def test_the_same_twice_is_once(saved, tmp_path):
    targets = [saved[1] / "mine.keras", str(saved[1] / "mine.keras")]
    assert len(edgecls.export(targets, formats=["onnx"], out=tmp_path)) == 1


def test_two_that_would_be_one_file_are_refused(saved, tmp_path):
    targets = [saved[1] / "mine.keras", saved[1] / "mine.h5"]
    with pytest.raises(UsageError, match="mine.h5 is not the only mine; export one of them to another folder"):
        edgecls.export(targets, out=tmp_path)
    assert list(tmp_path.iterdir()) == []
