"""Files that are run on the pictures of a reference, and compared with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from edgecls import images, runtimes
from edgecls.artifact import Agreement, TensorInfo, Tolerance
from edgecls.errors import EdgeclsError, UncountableOp, WorkFailed
from edgecls.graph import Graph, cost, read
from edgecls.reference import Reference
from edgecls.spec import Preprocess
from edgecls.verification.measures import agreement, softmax
from edgecls.verification.running import logits, oriented
from edgecls.verification.saturation import exits, saturation

_SOFTMAX = {"SOFTMAX", "Softmax"}


#: Told which file is how far: (its name, pictures done, pictures in all).
OnPicture: TypeAlias = Callable[[str, int, int], None]


def check(files: list[dict[str, Any]], right: Reference) -> list[dict[str, Any]]:
    """Run files of our own making on held-out pictures and compare them with their float model.

    files: {"path", "tolerance", "ends", "preprocess"} each, as JSON; ends: how the graph's are
    quantized where its file cannot say. right: the pictures and what they should give.
    Returns for each file the fields that a manifest wants to know of it. Raises WorkFailed.
    """
    counted = [_counted(Path(file["path"])) for file in files]
    return [_checked(file, *known, right) for file, known in zip(files, counted, strict=True)]


def _counted(path: Path) -> tuple[Graph, cost.Cost]:
    try:
        graph = read(path)
        custom = sorted({op.kind for op in graph.ops if op.custom})
        if custom:
            raise WorkFailed(f"{path.name} needs custom ops that phones have not: {', '.join(custom)}")
        return graph, cost.cost(graph)
    except EdgeclsError as error:  # the file is our own work, whatever is wrong with it
        raise WorkFailed(str(error).replace(str(path), path.name)) from error


def _checked(file, graph, counted, right):
    session, inputs, ends = _open(file, right.pictures)
    (source,), (sink,) = session.inputs, session.outputs
    found = logits(session, inputs, ends=ends)
    compared = _agreement(file, graph, counted.macs, right, inputs, ends, found, gives_probabilities(graph))
    return {
        "agreement": dataclasses.asdict(compared),
        "input": dataclasses.asdict(ends.get(source.name, source)),
        "output": dataclasses.asdict(ends.get(sink.name, sink)),
        "params": counted.params,
        "macs": counted.macs,
        "float_ops": list(counted.float_ops),
    }


def compare(
    file: dict[str, Any], right: Reference, probabilities: bool | None, on_picture: OnPicture
) -> Agreement:
    """How close a file, of whoever's making, is to what is right; `file` and `right` as for `check`.

    probabilities: whether the logits of `right` are a softmax; as the file's own where it is None,
    else logits become probabilities on the side that needs it.
    """
    graph = read(Path(file["path"]))
    session, inputs, ends = _open(file, right.pictures)
    found = logits(session, _told(graph.path.name, inputs, on_picture), ends=ends)
    soft = gives_probabilities(graph)
    if probabilities is not None and probabilities != soft:
        if soft:
            right = dataclasses.replace(right, logits=softmax(right.logits))
        else:
            found = softmax(found)
        soft = True
    try:
        macs = cost.cost(graph).macs
    except UncountableOp:  # what it costs does not decide what it computes
        macs = None
    return _agreement(file, graph, macs, right, inputs, ends, found, soft)


def _agreement(file, graph, macs, right, inputs, ends, found, soft):
    return agreement(
        right.logits,
        found,
        pictures=right.words,
        tolerance=Tolerance(**file["tolerance"]),
        saturation=saturation(graph, inputs, right.logits, ends, macs),
        probabilities=soft,
    )


def answers(file: dict[str, Any], pictures: np.ndarray, on_picture: OnPicture) -> tuple[np.ndarray, bool]:
    """(what a file says to pictures, as `check` takes both, whether it is a softmax)."""
    session, inputs, ends = _open(file, pictures)
    path = Path(file["path"])
    found = logits(session, _told(path.name, inputs, on_picture), ends=ends)
    return found, gives_probabilities(read(path))


def _open(file, pictures):
    """(session, the pictures as its inputs, how its ends are quantized)."""
    session = runtimes.open(file["path"])
    record = file["preprocess"] and Preprocess.from_json(file["preprocess"]).fit(*pictures.shape[2:])
    inputs = oriented(images.inputs(pictures, record)[:, None], session.inputs[0].shape)
    return session, inputs, {name: TensorInfo(**end) for name, end in file["ends"].items()}


def _told(name, inputs, on_picture):
    for done, picture in enumerate(inputs, 1):
        yield picture
        on_picture(name, done, len(inputs))


def gives_probabilities(graph: Graph) -> bool:
    """Whether the last op that computes is a softmax."""
    last = set(exits(graph))
    return any(op.kind in _SOFTMAX and op.outputs[0].name in last for op in graph.ops)
