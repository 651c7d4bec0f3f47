"""The web page in a real browser: it answers as the Python runtime does, and says what it cannot do."""

import contextlib
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import browser
import numpy as np
import pytest
from PIL import Image, ImageCms

from edgecls import artifact, export, images, runtimes
from edgecls.artifact import TensorInfo
from edgecls.spec import PREPROCESS, Preprocess
from edgecls.verbs import app
from edgecls.verification import running

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=str(browser.missing()))
REAL = Path(__file__).resolve().parent.parent.parent / "shared" / "real"
#: What the runtime says on the console, and Chromium of headers that ask for threads in vain.
NOT_OURS = ("INFO:", "WARNING:", "The Cross-Origin-Opener-Policy header has been ignored")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    flags = ("--use-fake-device-for-media-stream", "--host-resolver-rules=MAP phone.test 127.0.0.1")
    with browser.page(tmp_path_factory.mktemp("browser") / "profile", *flags) as opened:
        yield opened


@contextlib.contextmanager
def served(folder):
    """The address of the app in `folder`, by its own server."""
    command = [sys.executable, folder / "serve.py", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def open_at(page, address, text="Choose a picture."):
    page.wrong.clear()
    page.open(address)
    page.wait_for(text)


def errors(page):
    return [line for line in page.wrong if not line.startswith(NOT_OURS)]


def page_of(model, folder):
    app.web(model, folder, js_dir=browser.PACKAGES)
    return served(folder)


@pytest.fixture(scope="module")
def lenet(cold_export, tmp_path_factory):
    """(address, model) of the page of a small net for gray pictures."""
    (model,) = cold_export[0].rglob("lenet5-int8.tflite")
    with page_of(model, tmp_path_factory.mktemp("lenet") / "page") as address:
        yield address, model


@pytest.fixture
def its_page(page, lenet):
    """The page, opened anew where a test has gone elsewhere."""
    if page.run("return location.href") != f"{lenet[0]}/":
        open_at(page, lenet[0])
    return page


def scene(width, height, mode="RGB") -> Image.Image:
    """Slopes, edges and noise."""
    rng = np.random.default_rng(width)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([x * 255 / width, y * 255 / height, 127 + 127 * np.sin(x * y / 300)], axis=-1)
    noisy = waves + rng.normal(0, 20, waves.shape) + 60 * ((x // 17 + y // 23) % 2)[..., None]
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).convert(mode)


def from_python(model: Path, picture: Path) -> tuple[np.ndarray, np.ndarray]:
    """(input, outputs) of the Python runtime for a picture."""
    session = runtimes.open(model)
    values = images.load(picture, artifact.load(model).manifest.preprocess)
    source = running.oriented(values[None], session.inputs[0].shape)
    return running.quantized(source, session.inputs[0]), running.logits(session, [values[None]])[0]


def from_page(page, picture: Path) -> tuple[np.ndarray, np.ndarray]:
    """(input, outputs) of the open page for a picture."""
    values, outputs = page.run(f"""
        {_IMAGE.format(choose(page, picture))}
        const {{ input, pixels }} = await import("./picture.js"), {{ run }} = await import("./classifier.js");
        const about = await (await fetch("model.json")).json();
        const values = input(
            pixels(image, image.width, image.height, about.preprocess), about.preprocess, about.input);
        return [Array.from(values), Array.from((await run(values)).outputs)];""")
    return np.float32(values), np.float32(outputs)


_IMAGE = 'const image = await (await import("./picture.js")).decode({});'


def choose(page, path: Path) -> str:
    """Code for a file, which the page does not look at by itself."""
    page.run("""
        globalThis.chosen ??= document.createElement("input");
        Object.assign(chosen, { type: "file", id: "chosen", hidden: true });
        document.body.append(chosen);""")
    page.choose(path, "#chosen")
    return "chosen.files[0]"


def pixels(page, path: Path, preprocess: Preprocess) -> np.ndarray:
    """What the page makes of a file."""
    found = page.run(f"""
        {_IMAGE.format(choose(page, path))}
        const {{ pixels }} = await import("./picture.js");
        return Array.from(pixels(image, image.width, image.height, {json.dumps(preprocess.to_json())}));""")
    return np.uint8(found).reshape(preprocess.crop, preprocess.crop, -1)


def largest_difference(page, path: Path, preprocess: Preprocess) -> int:
    """In levels of 255."""
    return np.abs(np.int16(pixels(page, path, preprocess)) - images.pixels(path, preprocess)).max()


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
SIXTEEN_BITS = np.random.default_rng(0).integers(0, 1 << 16, (90, 120), np.uint16)
CASES = {
    "large.png": (scene(1000, 700), {}),
    "twice_as_tall.png": (scene(301, 640), {}),
    "wide.png": (scene(640, 301), {}),
    "small.png": (scene(97, 61), {}),
    "as_large_as_it_is_wanted.png": (scene(73, 90), {}),
    "palette.png": (scene(400, 300, "P"), {}),
    "gray.png": (scene(400, 301, "L"), {}),
    "sixteen_bits.png": (Image.fromarray(SIXTEEN_BITS), {}),
    "lossless.webp": (scene(333, 257), {"lossless": True}),
    "profile.png": (scene(300, 400), {"icc_profile": PROFILE}),
}


@pytest.mark.parametrize("color", ["rgb", "gray"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pixels_are_those_of_python(its_page, tmp_path, interpolation, color):
    one = Preprocess(resize=73, crop=64, mean=(0,) * 3, std=(1,) * 3, interpolation=interpolation)
    one = one.fit(64, 1 if color == "gray" else 3)
    for name, (picture, options) in CASES.items():
        picture.save(tmp_path / name, **options)
        assert largest_difference(its_page, tmp_path / name, one) == 0, name


def test_pixels_of_a_jpeg_and_of_what_is_transparent_are_within_one_level(its_page, tmp_path):
    turned, half = Image.Exif(), scene(400, 300)
    turned[0x0112] = 6  # orientation: a quarter to the right
    half.putalpha(Image.linear_gradient("L").resize(half.size))
    scene(400, 300).save(tmp_path / "turned.jpg", exif=turned, quality=90)
    half.save(tmp_path / "half.png")
    for name in ("turned.jpg", "half.png"):
        assert largest_difference(its_page, tmp_path / name, PREPROCESS["none"].at(96)) <= 1, name


def test_other_resampling_is_seen(its_page, tmp_path):
    scene(400, 300).save(tmp_path / "a.png")
    one = PREPROCESS["none"]
    theirs = pixels(its_page, tmp_path / "a.png", dataclasses.replace(one, interpolation="bicubic"))
    assert np.abs(np.int16(theirs) - images.pixels(tmp_path / "a.png", one)).max() > 10


@pytest.mark.parametrize("name", ["tf", "torch", "caffe"])
@pytest.mark.parametrize("shape", [[1, 64, 64, 3], [1, 3, 64, 64]])
@pytest.mark.parametrize("scale", [None, 0.0186584])
def test_input_is_that_of_python(its_page, name, shape, scale):
    one = PREPROCESS[name].at(64)
    seen = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    dtype = "float32" if scale is None else "uint8"
    tensor = TensorInfo(name="x", shape=tuple(shape), dtype=dtype, scale=scale, zero_point=scale and 114)
    found = its_page.run(f"""
        const {{ input }} = await import("./picture.js");
        const pixels = Uint8ClampedArray.from({json.dumps(seen.ravel().tolist())});
        const tensor = {json.dumps(dataclasses.asdict(tensor))};
        return Array.from(input(pixels, {json.dumps(one.to_json())}, tensor));""")
    values = running.oriented(images.normalise(seen, one)[None], tuple(shape))
    np.testing.assert_array_equal(np.float32(found).reshape(shape), running.quantized(values, tensor))


def test_a_picture_is_classified_as_in_python(its_page, lenet, tmp_path):
    scene(120, 90).save(tmp_path / "some picture.png")
    values, outputs = from_python(lenet[1], tmp_path / "some picture.png")
    its_page.choose(tmp_path / "some picture.png")
    its_page.wait_for("some picture.png")
    assert its_page.text("#results li:first-child .label") == str(outputs.argmax())
    shares = np.exp(outputs - outputs.max()) / np.exp(outputs - outputs.max()).sum()
    assert its_page.text("#results li:first-child .share") == f"{100 * shares.max():.1f} %"
    assert its_page.run("return document.querySelectorAll('#results li').length") == 5
    assert " ms model" in its_page.text("#times")
    theirs = from_page(its_page, tmp_path / "some picture.png")
    np.testing.assert_array_equal(theirs[0], values.ravel())
    np.testing.assert_array_equal(theirs[1], outputs)
    assert errors(its_page) == []


def test_the_page_says_what_it_runs(its_page):
    assert its_page.text("#name") == "lenet5.paper"
    assert "int8" in its_page.text("#facts") and "10 classes" in its_page.text("#facts")
    assert "untrained" in its_page.text("#notes")
    assert "threads" in its_page.text("#runtime")


def test_what_is_no_picture_is_said(its_page, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    its_page.choose(tmp_path / "notes.txt")
    its_page.wait_for("notes.txt cannot be read as a picture.")


def test_float_outputs_are_those_of_python(page, cold_export, tmp_path):
    (model,) = cold_export[0].rglob("lenet5-fp32.tflite")
    scene(120, 90).save(tmp_path / "a.png")
    values, outputs = from_python(model, tmp_path / "a.png")
    with page_of(model, tmp_path / "page") as address:
        open_at(page, address)
        theirs = from_page(page, tmp_path / "a.png")
    np.testing.assert_array_equal(theirs[0], values.ravel())
    # Each instruction set approximates its tanh in its own way: 1.3e-5 here. Nets without it are closer.
    assert np.abs(theirs[1] - outputs).max() < 5e-5 * outputs.std()


def test_an_address_that_is_not_secure_has_no_camera_and_one_thread(page, lenet, tmp_path):
    scene(120, 90).save(tmp_path / "a.png")
    open_at(page, lenet[0].replace("localhost", "phone.test"))
    assert "The camera needs a secure address" in page.text("#hint")
    assert page.run("return document.querySelector('#camera').disabled")
    assert "1 thread." in page.text("#runtime")
    page.choose(tmp_path / "a.png")
    page.wait_for("a.png")
    assert errors(page) == []


def test_the_camera_is_looked_at_until_it_is_stopped(page, lenet):
    open_at(page, lenet[0])
    page.call("Browser.grantPermissions", permissions=["videoCapture"], origin=lenet[0])
    page.run("document.querySelector('#camera').click()")
    page.wait_for("Camera")
    page.wait_for("ms model", "#times")
    page.run("document.querySelector('#camera').click()")
    page.wait_for("Camera", "#camera")
    assert page.run("return document.querySelector('#video').srcObject === null")
    assert errors(page) == []


def test_a_camera_that_is_not_allowed_is_said(page, lenet):
    open_at(page, lenet[0])
    page.call("Browser.setPermission", permission={"name": "camera"}, setting="denied", origin=lenet[0])
    page.run("document.querySelector('#camera').click()")
    page.wait_for("The camera may not be used: allow it for this page")


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("model.tflite", "The model cannot be loaded: model.tflite: HTTP 404"),
        ("litert/wasm/litert_wasm_threaded_internal.js", "cannot be loaded: a file of litert/ is missing"),
        ("model.json", "The page cannot start: model.json: HTTP 404"),
    ],
)
def test_a_missing_file_is_said(page, lenet, tmp_path, missing, said):
    with page_of(lenet[1], tmp_path / "page") as address:
        (tmp_path / "page" / missing).unlink()
        open_at(page, address, said)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="no ../shared/real")
def test_a_trained_network_says_of_real_pictures_what_it_says_in_python(page, tmp_path):
    """Screenshots are left in the folder of the test, to be looked at."""
    made = export(
        REAL / "mobilenet_v2_imagenet.keras",
        out=tmp_path,
        formats=["tflite"],
        precisions=["fp32", "int8"],
        preprocess="tf",
        calibration=REAL / "calibration",
        labels=REAL / "labels_1001.txt",
    )
    for one in made:
        labels, right = one.manifest.labels, 0
        with page_of(one.path, tmp_path / one.manifest.precision) as address:
            open_at(page, address)
            pictures = images.pictures_in(REAL / "eval")[::15]
            for picture in pictures:
                values, outputs = from_python(one.path, picture)
                theirs = from_page(page, picture)
                assert (np.abs(theirs[0] - values.ravel()) * (one.manifest.input.scale or 1)).max() <= 1 / 127
                kind, bound = ("Uint8Array", 0) if values.dtype == np.uint8 else ("Float32Array", 1e-5)
                of_same = np.float32(page.run(f"""
                    const {{ run }} = await import("./classifier.js");
                    const values = {kind}.from({json.dumps(values.ravel().tolist())});
                    return Array.from((await run(values)).outputs);"""))
                bound *= outputs.std()
                assert np.abs(of_same - outputs).max() <= bound
                page.choose(picture)
                page.wait_for(picture.name)
                assert page.text("#results li:first-child .label") == labels[outputs.argmax()]
                right += labels[outputs.argmax()].replace(" ", "_") in picture.name
            assert right > len(pictures) / 2
            for width, height in ((1100, 800), (360, 780)):
                for dark in (False, True):
                    shot = page.look(width=width, height=height, dark=dark)
                    name = f"{one.manifest.precision}-{width}{'-dark' * dark}.png"
                    (tmp_path / name).write_bytes(shot)
                    assert Image.open(tmp_path / name).size == (width, height)
                    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
            assert errors(page) == []
