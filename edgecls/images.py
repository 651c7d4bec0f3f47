"""Pictures to model input: decode, resize, crop, normalise. The only implementation of Preprocess.

Resizing and cropping are torchvision's `Resize` and `CenterCrop` on Pillow pictures, rounding
included, so that accuracies compare with those published for its models.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np

from edgecls.errors import BadFile
from edgecls.spec import Preprocess

#: Largest picture that resizing may make, in pixels; a thread one pixel wide would pass it.
_MAX_PIXELS = 2**26
#: Files that `pictures_in` takes for pictures.
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def pictures_in(folder: str | Path) -> list[Path]:
    """Every picture in `folder` and below, by suffix; otherwise as `files_in`."""
    return [path for path in files_in(folder) if path.suffix.lower() in SUFFIXES]


def files_in(folder: str | Path) -> list[Path]:
    """Every file in `folder` and below, sorted by path; hidden files and folders are left out.

    Raises BadFile where there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadFile(f"no folder {str(folder)!r}")
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(where, name) for name in files if not name.startswith(".")]
    return sorted(found)


def load(path: str | Path, preprocess: Preprocess) -> np.ndarray:
    """The picture at `path` as float32 (crop, crop, channels), ready for the model. Raises BadFile."""
    return normalise(pixels(path, preprocess), preprocess)


def normalise(pixels: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """`(pixel - mean) / std` as float32, of the shape of `pixels`.

    pixels: uint8 (..., channels), RGB or gray; `preprocess.color` "bgr" turns the channels round.
    """
    if pixels.dtype != np.uint8 or pixels.shape[-1] != preprocess.channels:
        received = f"{pixels.dtype} {pixels.shape}"
        raise ValueError(f"expected uint8 pixels of {preprocess.channels} channels, got {received}")
    if preprocess.color == "bgr":
        pixels = pixels[..., ::-1]
    mean, std = np.float32(preprocess.mean), np.float32(preprocess.std)
    return (pixels.astype(np.float32) - mean) / std


def inputs(pictures: np.ndarray, preprocess: Preprocess | None) -> np.ndarray:
    """Pictures as a model takes them, float32 of the same shape: uint8 pixels are normalised, floats
    are in the model's own space already."""
    return normalise(pictures, preprocess) if pictures.dtype == np.uint8 else pictures.astype(np.float32)


def pixels(path: str | Path, preprocess: Preprocess) -> np.ndarray:
    """The picture at `path`, resized and cropped: uint8 (crop, crop, channels), RGB or gray.

    Upright by its EXIF orientation; transparency lies on white; of an animation the first frame.
    Raises BadFile where the file is missing, truncated, no picture, or unreasonably large.
    """
    from PIL import Image

    path = Path(path)
    if not path.is_file():
        raise BadFile(f"no picture {str(path)!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                picture = _decode(image, gray=preprocess.color == "gray")
                picture = _crop(_resize(picture, preprocess), preprocess.crop)
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise BadFile(f"{str(path)!r} cannot be read as a picture: {reason}") from error
    return np.asarray(picture).reshape(preprocess.crop, preprocess.crop, preprocess.channels)


def _decode(image, *, gray):
    """`image` upright in mode RGB, or L for gray."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F"):
        raise ValueError("32 bits per channel; save it with 8 or 16")
    if image.mode.startswith("I;16"):  # Pillow's own conversion clips at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    picture = image.convert("RGB")
    return picture.convert("L") if gray else picture


def _resize(image, preprocess):
    """The short side becomes `preprocess.resize`; the long one keeps the ratio, rounded down."""
    from PIL import Image

    short, long = sorted(image.size)
    if short == preprocess.resize:
        return image
    stretched = int(preprocess.resize * long / short)
    if preprocess.resize * stretched > _MAX_PIXELS:
        raise ValueError(f"{image.width}x{image.height} pixels are too long and narrow")
    size = (preprocess.resize, stretched) if image.width == short else (stretched, preprocess.resize)
    return image.resize(size, Image.Resampling[preprocess.interpolation.upper()])


def _crop(image, side):
    left, top = (round((length - side) / 2) for length in image.size)
    return image.crop((left, top, left + side, top + side))
