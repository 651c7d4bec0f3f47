"""What one export is asked to make of one model, and with which tools."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecls.exporters.calibration import Plan
from edgecls.exporters.lowerings import LOWERINGS
from edgecls.exporters.recipe import Recipe
from edgecls.exporters.source import Source

#: Distributions whose version can change what is in a file.
_TOOLS = (
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
    "litert-quantizer",
    "numpy",
)



@dataclass(frozen=True, kw_only=True)
class Job:
    """One target and all that is asked for of it. io: as given; None is each recipe's own;
    per_tensor: of calibrated recipes, weights have one scale for each tensor; lowerings: those that
    may be applied; verbose: converters may print."""

    source: Source
    recipes: Sequence[Recipe]
    io: str | None
    plan: Plan
    per_tensor: bool
    lowerings: tuple[str, ...]
    folder: Path
    verbose: bool

    def of(self, source: Source) -> Job:
        """The same of another source."""
        plan = dataclasses.replace(self.plan, preprocess=source.preprocess)
        return dataclasses.replace(self, source=source, plan=plan)

    def target(self, recipe: Recipe) -> Path:
        return self.folder / f"{self.source.name}-{recipe.precision}.{recipe.format}"

    @property
    def reference(self) -> Path:
        return self.folder / f"{self.source.name}-reference.npz"

    def io_of(self, recipe: Recipe) -> str:
        return recipe.io_of(self.io)

    def lowerings_of(self, recipe: Recipe, *, int8: bool) -> list[str]:
        """Those that may be applied before a file is quantized, or to the model before any conversion."""
        found = [LOWERINGS[name] for name in self.lowerings]
        return [each.name for each in found if each.int8 == int8 and each.concerns(recipe)]

    def options(self, recipe: Recipe) -> dict[str, Any]:
        """Everything asked for that decides what is in the file."""
        source = self.source
        return {
            "model": source.spec.key if source.spec else source.kind,
            "weights": source.digest,
            "classes": source.classes,
            "input_size": source.input_size,
            "custom": source.custom_code(),
            "preprocess": source.preprocess and source.preprocess.to_json(),
            "labels": source.labels and hashlib.sha256("\n".join(source.labels).encode()).hexdigest(),
            "io": self.io_of(recipe),
            "calibration": self.plan.digest if recipe.calibrated else None,
            "calibration_method": self.plan.method if recipe.calibrated else None,
            "per_tensor": recipe.calibrated and self.per_tensor,
            "lowerings": self.lowerings_of(recipe, int8=False) + self.lowerings_of(recipe, int8=True),
        }


@functools.cache
def tool_versions() -> dict[str, str]:
    versions = {}
    for tool in _TOOLS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[tool] = importlib.metadata.version(tool)
    return versions
