"""What must be known of a model file to give it pictures: from its manifest, or from what the user says."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecls import artifact, profiling, runtimes
from edgecls.artifact import Manifest, TensorInfo, Tolerance
from edgecls.errors import BadFile, UsageError
from edgecls.exporters import preprocessing
from edgecls.exporters.recipe import RECIPES
from edgecls.graph import Graph, Tensor, read
from edgecls.spec import PREPROCESS, Preprocess

#: Whose tolerance a file without manifest has, where there is no recipe of its precision.
_LIKE = {"fp64": "fp32", "bf16": "fp16"}
_INTEGERS = {"int8", "uint8", "int16", "uint16"}


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A model file and how a picture becomes its input.

    size: pixels of its square input; outputs: how many classes it tells apart.
    preprocess: None where nobody said it; its inputs are floats then. ends: how the graph's ends are
    quantized, by name, where its file does not say it.
    """

    path: Path
    sha256: str
    precision: str
    size: int
    channels: int
    outputs: int
    preprocess: Preprocess | None
    ends: Mapping[str, TensorInfo] = field(default_factory=dict)
    tolerance: Tolerance
    manifest: Manifest | None = None

    @property
    def job(self) -> dict[str, Any]:
        """As `verification.check` takes it."""
        return {
            "path": str(self.path),
            "tolerance": dataclasses.asdict(self.tolerance),
            "ends": {name: dataclasses.asdict(end) for name, end in self.ends.items()},
            "preprocess": self.preprocess and self.preprocess.to_json(),
        }


def classifiers(
    files: str | Path | Iterable[str | Path], *, preprocess: preprocessing.Said = None
) -> list[Classifier]:
    """The classifiers in .tflite and .onnx files, each once.

    preprocess: see `preprocessing.parse`; for files without a manifest that says it.
    Raises BadFile, UsageError: no model, no classifier, a file that is not its manifest's.
    """
    said = preprocessing.parse(preprocess)
    files = [files] if isinstance(files, (str, Path)) else files
    found = [classifier(file, said) for file in dict.fromkeys(map(Path, files))]
    if not found:
        raise UsageError("no file; name .tflite or .onnx files")
    if said and all(one.manifest and one.manifest.preprocess for one in found):
        raise UsageError(
            f"--preprocess is for files whose manifest does not say it; {found[0].path.name} has its own"
        )
    return found


def classifier(path: Path, said: Preprocess | None) -> Classifier:
    """One of `classifiers`; `said` is for a file whose manifest does not say it."""
    if path.is_dir():
        raise UsageError(f"{str(path)!r} is a folder; name the files in it, such as {str(path / '*.tflite')}")
    if path.suffix.lower() not in runtimes.SUFFIXES:
        raise UsageError(f"{str(path)!r} is no .tflite or .onnx file; `edgecls export` makes them")
    if not path.is_file():
        raise BadFile(f"no file {str(path)!r}")
    manifest = artifact.load(path).manifest if artifact.manifest_path(path).is_file() else None
    graph = read(path)
    source, sink = _ends(path.name, graph)
    size, channels = _picture(path.name, source.shape)
    if manifest and manifest.preprocess:
        said = manifest.preprocess
    elif said:
        said = said.fit(size, channels)
    if said and said.channels != channels:
        raise UsageError(f"the preprocessing makes {said.channels} channels, {path.name} takes {channels}")
    ends = {}
    for tensor, known in ((source, manifest and manifest.input), (sink, manifest and manifest.output)):
        if known and known.scale is not None:
            ends[tensor.name] = known
        elif tensor.dtype in _INTEGERS and tensor.quantization is None:  # values as they are: pixels, mostly
            ends[tensor.name] = TensorInfo(
                name=tensor.name, shape=tensor.shape, dtype=tensor.dtype, scale=1.0, zero_point=0
            )
    precision = manifest.precision if manifest else profiling.precision(graph)
    recipe = RECIPES.get(f"{graph.format}-{_LIKE.get(precision, precision)}", RECIPES[f"{graph.format}-int8"])
    return Classifier(
        path=path,
        sha256=manifest.sha256 if manifest else artifact.sha256(path),
        precision=precision,
        size=size,
        channels=channels,
        outputs=math.prod(sink.shape),
        preprocess=said,
        ends=ends,
        tolerance=manifest.agreement.tolerance if manifest else recipe.tolerance,
        manifest=manifest,
    )


def unsaid(name: str) -> UsageError:
    """For a file `name` of which nobody said how pictures become its input."""
    known = ", ".join(PREPROCESS)
    return UsageError(f"how do pictures become the input of {name}? say --preprocess {known} or like:NAME")


def _ends(name: str, graph: Graph) -> tuple[Tensor, Tensor]:
    """The picture and the logits."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        ends = f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
        raise UsageError(f"{name} has {ends}; a classifier has one of each")
    (source,), (sink,) = graph.inputs, graph.outputs
    if not sink.shape or max(sink.shape) != math.prod(sink.shape):
        raise UsageError(f"{name} gives output of shape {sink.shape}, expected (1, classes)")
    return source, sink


def _picture(name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """(size, channels) of an input of either order of axes."""
    if len(shape) == 4 and shape[0] == 1:
        for height, width, channels in (shape[1:], (*shape[2:], shape[1])):
            if height == width and channels in (1, 3):
                return height, channels
    raise UsageError(f"{name} takes input of shape {shape}, expected one square picture of 1 or 3 channels")
