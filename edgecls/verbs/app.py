"""Make an app around a model file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgecls import apps, metadata
from edgecls import labels as label_files
from edgecls.apps import About, litertjs
from edgecls.apps import android as projects
from edgecls.apps import web as pages
from edgecls.artifact import TensorInfo
from edgecls.errors import UsageError
from edgecls.exporters import preprocessing
from edgecls.graph import Graph, Tensor, read
from edgecls.spec import Preprocess
from edgecls.verbs.classifier import Classifier, classifiers, unsaid

#: Types of input and output that runtimes of phones and browsers take.
_TYPES = ("float32", "uint8")
#: Operations that make shares of logits, and those that may follow them.
_SHARES, _AFTER = ("SOFTMAX", "LOGISTIC"), ("QUANTIZE", "DEQUANTIZE", "RESHAPE")


def web(
    model: str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    preprocess: preprocessing.Said = None,
    js_dir: str | Path | None = None,
    force: bool = False,
    on_bytes: Callable[[int, int | None], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> None:
    """Write a web page that runs the .tflite file `model` in the browser to the folder `out`.

    labels: as `labels.read` takes them; preprocess: see `preprocessing.parse`; both for a file whose
    manifest and metadata do not say it.
    js_dir: where `npm pack` put LiteRT.js; it is downloaded otherwise.
    force: replace a folder that has files of the user's own.
    on_bytes: told how far the download is, see `fetch.fetch`; on_note what a user must be told.

    Raises UsageError, BadFile, DownloadFailed; `out` is as it was then.
    """
    model, out = Path(model), Path(out)
    apps.check(out, model=model, force=force)
    about = describe(model, labels, preprocess, on_note)
    packages = litertjs.tarballs(js_dir and Path(js_dir), on_bytes=on_bytes, on_note=on_note)
    pages.write(about, out, packages)


def android(
    model: str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    preprocess: preprocessing.Said = None,
    force: bool = False,
    on_note: Callable[[str], None] = lambda note: None,
) -> None:
    """Write an Android project that runs the .tflite file `model` to the folder `out`.

    The options are those of `web`. Raises UsageError, BadFile; `out` is as it was then.
    """
    model, out = Path(model), Path(out)
    apps.check(out, model=model, force=force)
    projects.write(describe(model, labels, preprocess, on_note), out)


def describe(
    path: Path,
    labels: str | Path | None,
    preprocess: preprocessing.Said,
    on_note: Callable[[str], None],
) -> About:
    """Raises BadFile, UsageError for a file that no app can be made around."""
    if path.suffix.lower() == ".onnx":
        beside = path.with_suffix(".tflite")
        there = f"{str(beside)!r} is beside it" if beside.is_file() else None
        way = there or "`edgecls export --format tflite` makes one"
        raise UsageError(f"apps run .tflite files, not {path.name}; {way}")
    (one,) = classifiers(path, preprocess=preprocess)
    graph, manifest, said = read(path), one.manifest, metadata.read(path)
    (source,), (sink,) = graph.inputs, graph.outputs
    if graph.dynamic:
        raise UsageError(
            f"{path.name} leaves its batch open, which LiteRT.js and many phones refuse; "
            "convert it with a batch of 1, as `edgecls export` does with a .keras file"
        )
    for tensor, what in ((source, "input"), (sink, "output")):
        if tensor.dtype not in _TYPES:
            refused = f"{path.name} has {tensor.dtype} {what}, which phones and browsers refuse"
            raise UsageError(f"{refused}; export it with --io uint8")
    known = (manifest and manifest.labels) or (said and said.labels)
    if labels is not None:
        known = label_files.read(labels)
    label_files.check(known, one.outputs)
    if known is None:
        on_note(f"nobody named the classes of {path.name}: they are numbers; --labels FILE names them")
    notes = _notes(one)
    for note in notes:
        on_note(note)
    return About(
        path=path,
        name=manifest.model.name if manifest else (said and said.name) or path.stem,
        precision=one.precision,
        bytes=path.stat().st_size,
        sha256=one.sha256,
        input=_end(source, one),
        output=_end(sink, one),
        probabilities=_gives_shares(graph),
        preprocess=_preprocess(one, said, on_note),
        labels=tuple(known or map(str, range(one.outputs))),
        notes=notes,
        licence=manifest.weights.licence if manifest else said and said.licence,
    )


def _notes(one: Classifier) -> tuple[str, ...]:
    if one.manifest is None:
        return ()
    found = one.manifest.agreement
    broken = None if found.passed else f"{found.verdict}: {found.reason}"
    return tuple(filter(None, [one.manifest.weights.note, broken]))


def _preprocess(one: Classifier, said: metadata.Metadata | None, on_note) -> Preprocess:
    if one.preprocess:
        return one.preprocess
    if said is None or said.mean is None or said.std is None:
        raise unsaid(one.path.name)
    on_note(
        f"{one.path.name} does not say how pictures are cut: the short side becomes {one.size} pixels, "
        "the middle is taken; --preprocess says otherwise"
    )
    mean, std = (tuple(values) * (one.channels // len(values)) for values in (said.mean, said.std))
    color = said.color or ("gray" if one.channels == 1 else "rgb")
    return Preprocess(resize=one.size, crop=one.size, mean=mean, std=std, color=color)


def _end(tensor: Tensor, one: Classifier) -> TensorInfo:
    """How values become what the graph takes, or are made of what it gives."""
    if tensor.name in one.ends:
        return one.ends[tensor.name]
    known = None if tensor.floating else tensor.quantization
    return TensorInfo(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        scale=known and known.scale.item(),
        zero_point=known and known.zero_point.item(),
    )


def _gives_shares(graph: Graph) -> bool:
    (tensor,) = graph.outputs
    makers = {output: op for op in graph.ops for output in op.outputs}
    while (op := makers.get(tensor)) and op.kind in _AFTER:
        tensor = op.inputs[0]
    return op is not None and op.kind in _SHARES
