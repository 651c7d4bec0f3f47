"""The records that describe an architecture. Pure data, standard library only."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal


class Tier(StrEnum):
    LIGHT = "light"
    HEAVY = "heavy"


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How a picture becomes a model's input: `(pixel - mean) / std` after resize and crop.

    resize: short side after resizing, pixels; crop: side of the centre square, pixels.
    mean, std: one value per channel, in units of the 0..255 pixel value, in `color` order.
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    color: Literal["rgb", "bgr", "gray"] = "rgb"

    def __post_init__(self):
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        if self.resize < self.crop:
            raise ValueError(f"a crop of {self.crop} pixels does not fit a short side of {self.resize}")

    @property
    def channels(self) -> int:
        return len(self.mean)

    @property
    def value_range(self) -> tuple[float, float]:
        """Smallest and largest value an input can take."""
        low = min((0 - m) / s for m, s in zip(self.mean, self.std, strict=True))
        high = max((255 - m) / s for m, s in zip(self.mean, self.std, strict=True))
        return low, high

    @property
    def plain(self) -> bool:
        """Whether it scales all channels alike and leaves them in order, so that bytes can be input as they are."""
        return len(set(zip(self.mean, self.std, strict=True))) == 1 and self.color != "bgr"

    def at(self, size: int) -> Preprocess:
        """The same preprocessing for another input size, resize and crop kept in proportion."""
        return dataclasses.replace(self, resize=round(self.resize * size / self.crop), crop=size)

    def fit(self, size: int, channels: int) -> Preprocess:
        """The same preprocessing for another input size, and for gray where it treats all colours alike."""
        fitting = self.at(size)
        if channels == 1 and len({*zip(self.mean, self.std, strict=True)}) == 1:
            fitting = dataclasses.replace(fitting, mean=self.mean[:1], std=self.std[:1], color="gray")
        return fitting

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Preprocess:
        return cls(**record)


def _preprocess(mean, std, *, color="rgb"):
    return Preprocess(resize=256, crop=224, mean=mean, std=std, color=color)


#: Keras's names for the ways pictures become input, at 224 pixels; `.at(size)` for others.
PREPROCESS: dict[str, Preprocess] = {
    "tf": _preprocess((127.5,) * 3, (127.5,) * 3),
    "torch": _preprocess(
        tuple(255 * m for m in (0.485, 0.456, 0.406)), tuple(255 * s for s in (0.229, 0.224, 0.225))
    ),
    "caffe": _preprocess((103.939, 116.779, 123.68), (1.0,) * 3, color="bgr"),
    "unit": _preprocess((0.0,) * 3, (255.0,) * 3),
    "none": _preprocess((0.0,) * 3, (1.0,) * 3),
}


@dataclass(frozen=True, kw_only=True)
class Family:
    """Architectures of one idea. `name` is the stem of the file in `models/` that builds them."""

    name: str
    title: str
    year: int
    paper: str
    tier: Tier
    idea: str

    @property
    def short_paper(self) -> str:
        """ "arXiv:1801.04381", or for a paper that is not there the first author and the year."""
        arxiv = re.search(r"arXiv:[\d.]+\d", self.paper)
        return arxiv[0] if arxiv else f"{self.paper.split()[0].strip(',')} {self.year}"


@dataclass(frozen=True, kw_only=True)
class WeightSource:
    """A published weights file that fits a row, and how accurate it is.

    tag: what the source calls these weights; url: of the file, some in a .zip.
    digest: of the file, out of its .zip: "sha256:", "sha1:" or "md5:" and the hex digits that the
        source tells, which may be the first eight alone; None where it tells none.
    preprocess: how a picture becomes input where `top1` and `top5` were measured.
    top1, top5: % of ImageNet's validation set, or of CIFAR-10's test set for a row of CIFAR, as the
        source reports them; None where it does not.
    licence: SPDX identifier; None where the source states none.
    """

    tag: str
    url: str
    preprocess: Preprocess
    digest: str | None = None
    top1: float | None = None
    top5: float | None = None
    licence: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One row of the zoo: an architecture exactly as one source implements it.

    params: trainable parameters with `classes` classes (batch-norm moving statistics are not
        trainable); macs: multiply-accumulates of one forward pass at `input_size`, batch 1,
        counting convolutions, dense layers and attention products. 1 MAC = 2 FLOPs.
    build: `build(image, classes=..., **options) -> logits` on Keras tensors.
    source_name: maps one of our layer names to the source's name of the module or layer, or with a
        slash in it of the tensor.
    size_step: the input size is a multiple of it; size_reason: why of that, and why no smaller one works.
    unused_tensors: regular expressions of tensors the source has and the architecture has not.
    older_names: regular expressions of what stands in tensors' names in files older than the source's
        present names, and what stands there now.
    aliases: other names it goes by.
    weights: published ones that fit, the default first; none where nobody publishes any.
    """

    name: str
    source: str
    reference: str
    family: Family
    build: Callable[..., Any]
    source_name: Callable[[str], str]
    params: int
    macs: int
    input_size: int
    min_input_size: int
    preprocess: Preprocess
    size_step: int = 1
    size_reason: str = ""
    classes: int = 1000
    options: Mapping[str, Any] = field(default_factory=dict)
    unused_tensors: tuple[str, ...] = ()
    older_names: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    weights: tuple[WeightSource, ...] = ()

    @property
    def key(self) -> str:
        """The full name, `name.source`."""
        return f"{self.name}.{self.source}"

    @property
    def names(self) -> tuple[str, ...]:
        """Everything the row can be asked for by: each of its names, bare and with the source."""
        bare = (self.name, *self.aliases)
        return bare + tuple(f"{name}.{self.source}" for name in bare)

    @property
    def tier(self) -> Tier:
        return self.family.tier

    @property
    def layout(self) -> Literal["keras", "torch"]:
        """Axis order of the tensors in the source's weights files."""
        return "keras" if self.source in ("keras", "paper") else "torch"
