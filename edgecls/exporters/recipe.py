"""The table of recipes: what can be made, what it costs, and how close to the float model it has to be."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from edgecls.artifact import Tolerance
from edgecls.errors import UnknownName, UsageError
from edgecls.exporters.measured import Figures, table

FORMATS = ("tflite", "onnx")
#: In the order in which they are made and listed.
PRECISIONS = ("fp32", "fp16", "int8", "int8-weights", "int8-dynamic", "dynamic", "int16x8")
IO_TYPES = ("uint8", "int8", "float32")

#: The architectures whose figures explain the recipes.
MEASURED_ON = ("mobilenet_v2", "resnet50", "vit_tiny_patch16")
#: A recipe that takes more than so many times as long as float says so before it is made.
_SLOWER = 1.1
#: Least SQNR with one scale for each tensor of weights, dB: the trained MobileNetV2 has 6, at five points
#: less of top-1 than float, and -3, with nothing left, where its layers are not equalised.
_PER_TENSOR_SQNR_DB = 4.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One kind of artifact.

    min_sqnr_db, ok_sqnr_db, ok_kl: see `artifact.Tolerance`.
    io: types the graph's ends can have, the default first.
    calibrated: whether ranges of activations are taken from pictures.
    summary: what it is; choose: when to choose it.
    """

    name: str
    format: Literal["tflite", "onnx"]
    precision: Literal["fp32", "fp16", "int8", "int8-weights", "int8-dynamic", "dynamic", "int16x8"]
    min_sqnr_db: float
    ok_sqnr_db: float
    ok_kl: float = 0.05
    io: tuple[str, ...] = ("float32",)
    calibrated: bool = False
    summary: str
    choose: str

    @property
    def tolerance(self) -> Tolerance:
        return Tolerance(min_sqnr_db=self.min_sqnr_db, ok_sqnr_db=self.ok_sqnr_db, ok_kl=self.ok_kl)

    def tolerance_of(self, *, per_tensor: bool) -> Tolerance:
        """The same; looser for a calibrated recipe with one scale for each tensor of weights."""
        if per_tensor and self.calibrated:
            return dataclasses.replace(self.tolerance, min_sqnr_db=_PER_TENSOR_SQNR_DB)
        return self.tolerance

    def check_io(self, io: str | None) -> str:
        """The type asked for, or the default. Raises UsageError for one the recipe cannot have."""
        if io is None:
            return self.io[0]
        if io not in self.io:
            raise UsageError(f"{self.name} cannot have {io} input and output; it can have {', '.join(self.io)}")
        return io

    def io_of(self, io: str | None) -> str:
        """`check_io` for recipes that have a choice, the one type they have for the others."""
        return self.check_io(io) if len(self.io) > 1 else self.io[0]

    @property
    def figures(self) -> tuple[Figures, ...]:
        """On each architecture of `MEASURED_ON`."""
        return tuple(table()[net][self.name] for net in MEASURED_ON)

    @property
    def slower(self) -> str | None:
        """In words, where most nets take longer than in float; None where they do not."""
        times = dict(zip(MEASURED_ON, (figures.time for figures in self.figures), strict=True))
        if statistics.median(times.values()) <= _SLOWER:
            return None
        slow = ", ".join(f"{time:.2g} times on {net}" for net, time in times.items() if time > _SLOWER)
        return f"{self.name} takes longer than float on a CPU: {slow}"


# The least SQNR lies well under what every architecture here reaches and above what a wrong graph
# reaches. Float files agree to 95 dB and more, float16 weights to 34, float16 activations to 33; sound
# int8 to 10 to 30 dB. A wrong padding or a lost layer gives under 10 dB, collapsed int8 5 and less.
#
# The bounds of OK are from a trained MobileNetV2 in int8, both formats, calibrated well and ever worse, on
# 300 photographs: down to 16 dB and up to 0.025 nats it lost no top-1 and agreed on 96% and more. At 11 dB
# it agreed on 93 to 94%, at 8 dB on 88 to 90% and had lost 4 to 5 points. Ranges of one to four photographs,
# which clip the best logits, cost 1 to 3 points at 20 dB: there the divergence was 0.14 nats.
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="tflite-fp32",
            format="tflite",
            precision="fp32",
            min_sqnr_db=80.0,
            ok_sqnr_db=80.0,
            summary="float32 throughout",
            choose="to compare with; where nothing may be lost",
        ),
        Recipe(
            name="tflite-fp16",
            format="tflite",
            precision="fp16",
            min_sqnr_db=20.0,
            ok_sqnr_db=30.0,
            summary="float16 weights, computed in float32; phones' GPUs compute in float16",
            choose="half the size at no loss; for GPUs",
        ),
        Recipe(
            name="tflite-int8",
            format="tflite",
            precision="int8",
            min_sqnr_db=8.0,
            ok_sqnr_db=15.0,
            io=("uint8", "int8", "float32"),
            calibrated=True,
            # Softmax of attention and variance of layer norms stay in float: see `flatbuffer.fragile`.
            summary="integers, a scale for each channel",
            choose="convolutional nets: the fastest on CPUs, the only one for most NPUs and microcontrollers",
        ),
        Recipe(
            name="tflite-int8-weights",
            format="tflite",
            precision="int8-weights",
            min_sqnr_db=8.0,
            ok_sqnr_db=15.0,
            summary="int8 weights, a scale for each channel, computed in float32",
            choose="as small as int8 without pictures, at float's speed",
        ),
        Recipe(
            name="tflite-dynamic",
            format="tflite",
            precision="dynamic",
            min_sqnr_db=8.0,
            ok_sqnr_db=15.0,
            # XNNPACK has no depthwise convolution of float pictures with int8 weights: left to the
            # runtime's own kernel, MobileNetV2 ran in 18 pieces and took four times as long.
            summary="int8 weights, activations quantized as they come; depthwise convolutions in float32",
            choose="small and fast without pictures; the fastest for transformers on CPUs",
        ),
        Recipe(
            name="tflite-int16x8",
            format="tflite",
            precision="int16x8",
            min_sqnr_db=8.0,
            ok_sqnr_db=25.0,
            calibrated=True,
            summary="int8 weights, int16 activations",
            choose="where int8 loses too much and the chip has no floats; no CPU delegate runs it",
        ),
        Recipe(
            name="onnx-fp32",
            format="onnx",
            precision="fp32",
            min_sqnr_db=80.0,
            ok_sqnr_db=80.0,
            summary="float32 throughout",
            choose="to compare with; where nothing may be lost",
        ),
        Recipe(
            name="onnx-fp16",
            format="onnx",
            precision="fp16",
            min_sqnr_db=20.0,
            ok_sqnr_db=30.0,
            summary="float16 weights and activations; x86 CPUs compute it in float32 between casts",
            choose="half the size; for GPUs",
        ),
        Recipe(
            name="onnx-int8",
            format="onnx",
            precision="int8",
            min_sqnr_db=8.0,
            ok_sqnr_db=15.0,
            io=("float32", "uint8"),
            calibrated=True,
            summary="QDQ: uint8 activations, int8 weights with a scale for each channel",
            choose="the fastest for convolutional nets on CPUs; an application for x86 without VNNI sets "
            "session.x64quantprecision to 1",
        ),
        Recipe(
            name="onnx-int8-dynamic",
            format="onnx",
            precision="int8-dynamic",
            min_sqnr_db=8.0,
            ok_sqnr_db=15.0,
            # ONNX Runtime's own dynamic convolution knows one scale for all channels: MobileNetV2
            # collapses to -3 dB and takes ten times as long as float.
            summary="int8 weights; dense layers quantize activations as they come, convolutions compute in float32",
            choose="small without pictures; the fastest for transformers on CPUs",
        ),
    )
}


def precisions_of(formats: Iterable[str]) -> tuple[str, ...]:
    """What can be made in one of `formats` at least, in order."""
    formats = tuple(formats)
    known = {recipe.precision for recipe in RECIPES.values() if recipe.format in formats}
    return tuple(precision for precision in PRECISIONS if precision in known)


def recipe_for(format: str, precision: str) -> Recipe:
    """The recipe of a format and a precision. Raises UnknownName, UsageError."""
    if format not in FORMATS:
        raise UnknownName("format", format, FORMATS)
    if precision not in PRECISIONS:
        raise UnknownName("recipe", precision, PRECISIONS)
    if f"{format}-{precision}" not in RECIPES:
        raise UsageError(f"no {precision} for .{format}; it can be {', '.join(precisions_of([format]))}")
    return RECIPES[f"{format}-{precision}"]
