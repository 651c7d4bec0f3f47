"""An Android project that classifies pictures, by LiteRT. Models differ in its Model.kt and assets alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from edgecls.apps import folder
from edgecls.apps.about import About
from edgecls.artifact import TensorInfo
from edgecls.errors import UsageError

_MAIN = Path("app/src/main")
#: Where the Kotlin files are.
SOURCES = _MAIN / "java/com/example/classifier"


def write(about: About, out: Path) -> None:
    """Write the project to `out`, see `folder.writing`. Raises UsageError for labels that are no lines."""
    if wrong := [label for label in about.labels if len(label.splitlines()) > 1]:
        raise UsageError(f"the label {wrong[0]!r} is no single line; name the classes with --labels")
    with folder.writing(out, "android") as new:
        assets = new / _MAIN / "assets"
        assets.mkdir()
        shutil.copyfile(about.path, assets / "model.tflite")
        (assets / "labels.txt").write_text("\n".join(about.labels) + "\n", encoding="utf-8", newline="\n")
        (new / SOURCES / "Model.kt").write_text(constants(about), encoding="utf-8", newline="\n")


def constants(about: About) -> str:
    """The Kotlin file that says how the model is fed."""
    one = about.preprocess
    return f"""package com.example.classifier

/** What the model in the assets is, and how pictures become its input. Written by edgecls app. */
object Model {{
    const val NAME = {_text(about.name)}
    const val PRECISION = {_text(about.precision)}
    const val MEGABYTES = "{about.bytes / 1e6:.1f}"

    /** What the user must be told. */
    val NOTES = listOf<String>({", ".join(map(_text, about.notes))})

    /** The short side after resizing, then the side of the square in the middle; pixels. */
    const val RESIZE = {one.resize}
    const val CROP = {one.crop}
    const val BICUBIC = {_flag(one.interpolation == "bicubic")}

    /** Input is `(pixel - mean) / std`, of pixels 0..255. */
    const val CHANNELS = {one.channels}
    const val BGR = {_flag(one.color == "bgr")}
    const val CHANNELS_FIRST = {_flag(about.input.shape[-1] != one.channels)}
    val MEAN = floatArrayOf({_floats(one.mean)})
    val STD = floatArrayOf({_floats(one.std)})

    /** A quantized value q, uint8, stands for `scale * (q - zero point)`. */
    const val QUANTIZED_INPUT = {_flag(about.input.dtype == "uint8")}
{_scale("INPUT", about.input)}
    const val QUANTIZED_OUTPUT = {_flag(about.output.dtype == "uint8")}
{_scale("OUTPUT", about.output)}

    /** Whether outputs are shares already, not logits. */
    const val PROBABILITIES = {_flag(about.probabilities)}
}}
"""


def _scale(name: str, tensor: TensorInfo) -> str:
    scale, zero_point = (1.0, 0) if tensor.scale is None else (tensor.scale, tensor.zero_point)
    return f"    const val {name}_SCALE = {_floats([scale])}\n    const val {name}_ZERO_POINT = {zero_point}"


def _text(text: str) -> str:
    """A string of Kotlin, in which $ begins a template."""
    return json.dumps(text, ensure_ascii=False).replace("$", "\\$").replace("\\f", "\\u000c")


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _floats(values: Iterable[float]) -> str:
    return ", ".join(f"{value!r}f" for value in values)
