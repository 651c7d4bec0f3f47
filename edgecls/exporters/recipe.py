"""The table of recipes: what can be made, and how close to the float model it has to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgecls.artifact import Tolerance
from edgecls.errors import UnknownName, UsageError

FORMATS = ("tflite", "onnx")
PRECISIONS = ("fp32", "fp16", "int8")
IO_TYPES = ("uint8", "int8", "float32")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One kind of artifact.

    min_sqnr_db, ok_sqnr_db, ok_kl: see `artifact.Tolerance`.
    io: types the graph's ends can have, the default first.
    summary: what it is and when to choose it.
    """

    name: str
    format: Literal["tflite", "onnx"]
    precision: Literal["fp32", "fp16", "int8"]
    min_sqnr_db: float
    ok_sqnr_db: float
    ok_kl: float = 0.05
    io: tuple[str, ...] = ("float32",)
    summary: str

    @property
    def tolerance(self) -> Tolerance:
        return Tolerance(min_sqnr_db=self.min_sqnr_db, ok_sqnr_db=self.ok_sqnr_db, ok_kl=self.ok_kl)

    def check_io(self, io: str | None) -> str:
        """The type asked for, or the default. Raises UsageError for one the recipe cannot have."""
        if io is None:
            return self.io[0]
        if io not in self.io:
            raise UsageError(f"{self.name} cannot have {io} input and output; it can have {', '.join(self.io)}")
        return io


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
        Recipe(name="tflite-fp32", format="tflite", precision="fp32", min_sqnr_db=80.0, ok_sqnr_db=80.0, summary="float32 throughout"),
        Recipe(
            name="tflite-fp16",
            format="tflite",
            precision="fp16",
            min_sqnr_db=20.0,
            ok_sqnr_db=30.0,
            summary="float16 weights, computed in float32: half the size, the speed of float",
        ),
        Recipe(
            name="tflite-int8",
            format="tflite",
            precision="int8",
            min_sqnr_db=8.0,
            ok_sqnr_db=15.0,
            io=("uint8", "int8", "float32"),
            # Softmax of attention and variance of layer norms stay in float: see `flatbuffer.fragile`.
            summary="integers, a scale per channel: a quarter of the size, the fastest on CPU",
        ),
        Recipe(name="onnx-fp32", format="onnx", precision="fp32", min_sqnr_db=80.0, ok_sqnr_db=80.0, summary="float32 throughout"),
        Recipe(
            name="onnx-fp16",
            format="onnx",
            precision="fp16",
            min_sqnr_db=20.0,
            ok_sqnr_db=30.0,
            summary="float16 weights and activations: half the size; CPUs compute it in float32 between casts",
        ),
        Recipe(
            name="onnx-int8",
            format="onnx",
            precision="int8",
            min_sqnr_db=8.0,
            ok_sqnr_db=15.0,
            io=("float32", "uint8"),
            summary="QDQ, uint8 activations, int8 weights with a scale per channel: a quarter of the size",
        ),
    )
}


def recipe_for(format: str, precision: str) -> Recipe:
    """The recipe of a format and a precision. Raises UnknownName."""
    if format not in FORMATS:
        raise UnknownName("format", format, FORMATS)
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    return RECIPES[f"{format}-{precision}"]
