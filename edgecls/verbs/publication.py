"""Files and their manifests into place, each file with metadata that says the same as its manifest."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgecls import __version__, artifact, metadata
from edgecls.artifact import Artifact, Manifest, TensorInfo, WeightsInfo
from edgecls.metadata import Metadata
from edgecls.spec import Preprocess


def publish(staged: Path, target: Path, manifest: Manifest) -> Artifact:
    """`artifact.publish` of the file with its metadata; bytes and sha256 are those that it has then."""
    metadata.write(staged, described(manifest))
    return artifact.publish(staged, target, of_file(staged, manifest))


def of_file(path: Path, manifest: Manifest) -> Manifest:
    """The manifest with the size and the digest that a file has now."""
    return dataclasses.replace(manifest, bytes=path.stat().st_size, sha256=artifact.sha256(path))


def described(manifest: Manifest) -> Metadata:
    """What a manifest says, for those who have the file alone. Paths on this machine stay out of it."""
    model, preprocess = manifest.model, manifest.preprocess
    made_of = f"{model.name} ({model.reference})" if model.source != "file" else model.name
    return Metadata(
        name=model.name,
        description=f"{made_of}, {model.classes} classes, {manifest.precision}, "
        f"{_weights(manifest.weights)}; made by edgecls {__version__}.",
        version=_version(manifest.weights),
        licence=manifest.weights.licence,
        input=_input(preprocess, manifest.input),
        mean=preprocess and preprocess.mean,
        std=preprocess and preprocess.std,
        color=preprocess and preprocess.color,
        labels=manifest.labels,
    )


def _weights(weights: WeightsInfo) -> str:
    if not weights.trained:
        return f"random weights of seed {weights.seed}: its answers mean nothing"
    return f"weights {weights.tag or Path(weights.source).name}"


def _version(weights: WeightsInfo) -> str:
    """Other weights are another version."""
    if not weights.trained:
        return f"untrained-{weights.seed}"
    return weights.tag or weights.sha256[:12]


def _input(preprocess: Preprocess | None, tensor: TensorInfo) -> str:
    if preprocess is None:
        return "A picture; nobody said how it becomes input."
    mean, std = (_numbers(values) for values in (preprocess.mean, preprocess.std))
    scaled = f"(pixel - {mean}) / {std}"
    if tensor.scale is not None:
        scaled += f", quantized as q = x / {tensor.scale:.6g} + {tensor.zero_point}"
    return (
        f"A picture ({preprocess.color}): the short side resized to {preprocess.resize} "
        f"({preprocess.interpolation}), the centre {preprocess.crop}x{preprocess.crop} cropped, {scaled}."
    )


def _numbers(values: tuple[float, ...]) -> str:
    shown = [f"{value:g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else f"({', '.join(shown)})"
