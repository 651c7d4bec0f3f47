"""A web page that classifies pictures in the browser, by LiteRT.js. Static files, which need no build."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgecls.apps import folder, litertjs
from edgecls.apps.about import About
from edgecls.artifact import TensorInfo


def write(about: About, out: Path, packages: Sequence[Path]) -> None:
    """Write the page to `out`, see `folder.writing`. packages: as `litertjs.tarballs` finds them."""
    with folder.writing(out, "web") as new:
        shutil.copyfile(about.path, new / "model.tflite")
        litertjs.unpack(packages, new / "litert")
        text = json.dumps(_record(about), ensure_ascii=False, allow_nan=False, indent=1)
        (new / "model.json").write_text(text, encoding="utf-8")


def _record(about: About) -> dict[str, Any]:
    """What the page knows of the model."""
    return {
        "name": about.name,
        "file": about.path.name,
        "precision": about.precision,
        "bytes": about.bytes,
        "sha256": about.sha256,
        "notes": about.notes,
        "licence": about.licence,
        "litertjs": litertjs.VERSION,
        "input": _end(about.input),
        "output": _end(about.output) | {"probabilities": about.probabilities},
        "preprocess": about.preprocess.to_json(),
        "labels": about.labels,
    }


def _end(tensor: TensorInfo) -> dict[str, Any]:
    return {
        "shape": tensor.shape,
        "dtype": tensor.dtype,
        "scale": tensor.scale,
        "zero_point": tensor.zero_point,
    }
