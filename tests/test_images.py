"""Decoding, resizing, cropping and normalising, on pictures small enough to do by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecls import images
from edgecls.errors import BadFile
from edgecls.spec import PREPROCESS, Preprocess

REAL = Path(__file__).parents[2] / "shared" / "real" / "calibration"


def prepare(resize=4, crop=4, color="rgb", **options):
    channels = 1 if color == "gray" else 3
    mean, std = (0,) * channels, (1,) * channels
    return Preprocess(resize=resize, crop=crop, mean=mean, std=std, color=color, **options)


def saved(folder, picture, name="picture.png", **options):
    path = folder / name
    picture.save(path, **options)
    return path


def columns(*values, height=None):
    """A gray picture whose columns have these values, as RGB."""
    row = np.array(values, np.uint8)
    return Image.fromarray(np.tile(row, (height or len(row), 1))).convert("RGB")


def first_row(path, preprocess):
    return images.pixels(path, preprocess)[0, :, 0].tolist()


def plain(size, mode, colour):
    return Image.new(mode, (size, size), colour)


# Normalising


def test_normalise_by_hand():
    pixel = np.array([[[0, 127, 255]]], np.uint8)
    np.testing.assert_array_equal(images.normalise(pixel, prepare()), [[[0, 127, 255]]])
    tf = [-1, -0.5 / 127.5, 1]
    np.testing.assert_allclose(images.normalise(pixel, PREPROCESS["tf"]), [[tf]], rtol=1e-6)
    torch = [(0 - 0.485) / 0.229, (127 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(images.normalise(pixel, PREPROCESS["torch"]), [[torch]], rtol=1e-5)
    caffe = [255 - 103.939, 127 - 116.779, 0 - 123.68]  # blue first
    np.testing.assert_allclose(images.normalise(pixel, PREPROCESS["caffe"]), [[caffe]], rtol=1e-6)


def test_normalise_is_float32_in_the_range_that_the_record_states():
    extremes = np.array([[[0, 0, 0]], [[255, 255, 255]]], np.uint8)
    for preprocess in PREPROCESS.values():
        values = images.normalise(extremes, preprocess)
        assert values.dtype == np.float32
        np.testing.assert_allclose((values.min(), values.max()), preprocess.value_range, rtol=1e-6)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 1), np.uint8)])
def test_normalise_refuses_what_are_not_pixels_of_its_channels(pixels):
    with pytest.raises(ValueError, match="expected uint8 pixels of 3 channels"):
        images.normalise(pixels, PREPROCESS["tf"])


def test_load_crops_and_normalises(tmp_path):
    path = saved(tmp_path, plain(300, "RGB", (0, 127, 255)))
    loaded = images.load(path, PREPROCESS["caffe"])
    assert (loaded.shape, loaded.dtype) == ((224, 224, 3), np.float32)
    np.testing.assert_allclose(loaded[100, 100], (255 - 103.939, 127 - 116.779, 0 - 123.68), rtol=1e-6)


# Resizing and cropping


@pytest.mark.parametrize(
    ("width", "left"),
    [(4, 0), (6, 1), (5, 0), (7, 2), (9, 2), (11, 4)],  # halves to the even number, as torchvision's
)
def test_the_centre_is_cropped_with_halves_rounded_to_even(tmp_path, width, left):
    path = saved(tmp_path, columns(*range(width), height=4))
    assert first_row(path, prepare()) == list(range(left, left + 4))


def test_the_short_side_is_resized_and_the_long_one_rounded_down(tmp_path):
    values = np.linspace(0, 255, 500)
    landscape = columns(*values, height=375)
    wide = np.asarray(landscape.resize((341, 256), Image.Resampling.BILINEAR))  # 256 * 500 / 375 = 341.3
    expected = wide[16:240, 58:282]  # (341 - 224) / 2 = 58.5
    got = images.pixels(saved(tmp_path, landscape), prepare(256, 224))
    np.testing.assert_array_equal(got, expected)
    portrait = landscape.transpose(Image.Transpose.TRANSPOSE)
    got = images.pixels(saved(tmp_path, portrait), prepare(256, 224))
    np.testing.assert_array_equal(got, expected.transpose(1, 0, 2))


def test_bilinear_enlarges_by_the_distance_to_pixel_centres(tmp_path):
    assert first_row(saved(tmp_path, columns(0, 255)), prepare()) == [0, 64, 191, 255]


def test_reducing_averages_over_the_window(tmp_path):
    # Triangle over two pixels either way: (0.75, 0.75, 0.25) / 1.75. Without antialiasing: 0, 255.
    assert first_row(saved(tmp_path, columns(0, 0, 255, 255)), prepare(2, 2)) == [36, 219]


def test_interpolation_is_what_the_record_says(tmp_path):
    path = saved(tmp_path, columns(0, 0, 255, 255))
    assert first_row(path, prepare(8, 8, interpolation="bicubic")) != first_row(path, prepare(8, 8))


def test_a_picture_smaller_than_the_crop_is_enlarged(tmp_path):
    got = images.pixels(saved(tmp_path, Image.new("RGB", (3, 5), "teal")), prepare(256, 224))
    assert got.shape == (224, 224, 3)
    assert (got == (0, 128, 128)).all()


def test_a_crop_larger_than_the_resized_picture_is_no_preprocessing():
    with pytest.raises(ValueError, match="crop of 224 pixels does not fit a short side of 200"):
        prepare(200, 224)


# Decoding


def sixteen_bit(value):
    return Image.fromarray(np.full((4, 4), value, np.uint16))


@pytest.mark.parametrize(
    ("picture", "name", "colour"),
    [
        (plain(4, "RGB", (10, 20, 30)), "rgb.png", (10, 20, 30)),
        (plain(4, "RGB", (10, 20, 30)), "rgb.bmp", (10, 20, 30)),
        (plain(4, "RGB", (10, 20, 30)).quantize(4), "palette.png", (10, 20, 30)),
        (plain(4, "RGB", (10, 20, 30)).quantize(4), "palette.gif", (10, 20, 30)),
        (plain(4, "L", 77), "gray.png", (77, 77, 77)),
        (plain(4, "1", 1), "bit.png", (255, 255, 255)),
        (plain(4, "LA", (100, 0)), "gray-and-clear.png", (255, 255, 255)),
        (plain(4, "RGBA", (10, 20, 30, 255)), "opaque.png", (10, 20, 30)),
        (plain(4, "RGBA", (0, 0, 0, 51)), "veil.webp", (204, 204, 204)),  # a fifth of black on white
        (plain(4, "CMYK", (0, 255, 255, 0)), "print.tif", (255, 0, 0)),
        (plain(4, "CMYK", (0, 255, 255, 0)), "print.jpg", (255, 0, 0)),
        (sixteen_bit(0x80FF), "deep.png", (128, 128, 128)),
        (sixteen_bit(0x01FF), "deep.tif", (1, 1, 1)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_mode_becomes_rgb(tmp_path, picture, name, colour):
    options = {"lossless": True} if name.endswith("webp") else {}
    got = images.pixels(saved(tmp_path, picture, name, **options), prepare())
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, np.broadcast_to(colour, (4, 4, 3)))


def test_a_transparent_palette_entry_lies_on_white(tmp_path):
    picture = plain(4, "P", 0)
    picture.putpalette([10, 20, 30])
    got = images.pixels(saved(tmp_path, picture, transparency=0), prepare())
    assert (got == 255).all()


def test_gray_is_the_luma_of_the_colours(tmp_path):
    path = saved(tmp_path, plain(4, "RGB", (10, 200, 30)))
    got = images.pixels(path, prepare(color="gray"))
    assert got.shape == (4, 4, 1)
    assert (got == round(0.299 * 10 + 0.587 * 200 + 0.114 * 30)).all()


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate clockwise to see it upright
    path = saved(tmp_path, columns(0, 10, 20, 30), exif=exif)
    got = images.pixels(path, prepare())[..., 0]
    np.testing.assert_array_equal(got, np.tile([[0], [10], [20], [30]], 4))


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [plain(4, "RGB", colour) for colour in ("red", "blue")]
    path = saved(tmp_path, frames[0], "moving.gif", save_all=True, append_images=frames[1:])
    assert (images.pixels(path, prepare()) == (255, 0, 0)).all()


# Bad files


def noise(size=64):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp"])
def test_a_truncated_picture_is_named(tmp_path, suffix):
    path = saved(tmp_path, noise(), f"cut.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadFile, match=f"cut.{suffix}' cannot be read as a picture"):
        images.load(path, PREPROCESS["tf"])


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\xff\xd8\xff\xe0"])
def test_what_is_no_picture_is_named(tmp_path, content):
    path = tmp_path / "odd.jpg"
    path.write_bytes(content)
    with pytest.raises(BadFile, match="odd.jpg' cannot be read as a picture"):
        images.load(path, PREPROCESS["tf"])


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(BadFile, match="no picture .*gone.jpg"):
        images.load(tmp_path / "gone.jpg", PREPROCESS["tf"])


def test_32_bit_pixels_are_refused(tmp_path):
    path = saved(tmp_path, plain(4, "F", 0.5), "float.tif")
    with pytest.raises(BadFile, match="32 bits per channel"):
        images.load(path, prepare())


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    path = saved(tmp_path, plain(64, "RGB", "red"))
    assert images.pixels(path, prepare()).shape == (4, 4, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 - 1)
    with pytest.raises(BadFile, match="decompression bomb"):
        images.pixels(path, prepare())


def test_a_thread_of_pixels_is_refused_before_it_is_enlarged(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (50_000, 1)))
    with pytest.raises(BadFile, match="50000x1 pixels are too long and narrow"):
        images.pixels(path, prepare(256, 224))


# Folders


def test_pictures_are_found_below_and_sorted_and_hidden_ones_left_out(tmp_path):
    names = ["b.jpg", "a/c.PNG", "a/b/d.webp", ".hidden.jpg", ".git/e.jpg", "a/notes.txt", "a.tif"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in images.pictures_in(tmp_path)]
    assert found == ["a/b/d.webp", "a/c.PNG", "a.tif", "b.jpg"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(BadFile, match="no folder .*gone"):
        images.pictures_in(tmp_path / "gone")


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the folder of real photographs beside the checkout")
def test_photographs_become_model_input():
    found = images.pictures_in(REAL)
    assert len(found) == 100
    batch = np.stack([images.load(path, PREPROCESS["tf"]) for path in found])
    assert batch.shape == (100, 224, 224, 3)
    assert batch.min() == -1 and batch.max() == 1
    assert 0.4 < batch.std() < 0.6
