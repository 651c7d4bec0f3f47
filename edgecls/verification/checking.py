"""Files that are run on the pictures of a reference, and compared with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgecls import images, runtimes
from edgecls.artifact import TensorInfo, Tolerance
from edgecls.errors import EdgeclsError, WorkFailed
from edgecls.graph import Graph, cost, read
from edgecls.reference import Reference
from edgecls.spec import Preprocess
from edgecls.verification.measures import agreement, softmax
from edgecls.verification.running import logits, oriented
from edgecls.verification.saturation import exits, saturation

_SOFTMAX = {"SOFTMAX", "Softmax"}


def check(
    files: list[dict[str, Any]],
    right: Reference,
    *,
    probabilities: bool | None = None,
    on_picture: Callable[[str, int, int], None] = lambda file, done, total: None,
) -> list[dict[str, Any]]:
    """Run each file on held-out pictures and compare it with its float model.

    files: {"path", "tolerance", "ends", "preprocess"} each, as JSON; ends: how the graph's are
    quantized where its file cannot say. right: the pictures and what they should give.
    probabilities: whether those are a softmax; as the file's own by default, else logits become
    probabilities on the side that needs it. on_picture: told which file is how far.
    Returns for each file the fields that a manifest wants to know of it. Raises WorkFailed.
    """
    counted = [_cost(Path(file["path"])) for file in files]
    return [
        _compare(file, *costs, right, probabilities, on_picture)
        for file, costs in zip(files, counted, strict=True)
    ]


def _cost(path: Path) -> tuple[Graph, cost.Cost]:
    try:
        graph = read(path)
        custom = sorted({op.kind for op in graph.ops if op.custom})
        if custom:
            raise WorkFailed(f"{path.name} needs custom ops that phones have not: {', '.join(custom)}")
        return graph, cost.cost(graph)
    except EdgeclsError as error:  # the file is our own work, whatever is wrong with it
        raise WorkFailed(str(error).replace(str(path), path.name)) from error


def answers(
    file: dict[str, Any], pictures: np.ndarray, on_picture: Callable[[str, int, int], None]
) -> tuple[np.ndarray, bool]:
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


def _compare(file, graph, counted, right, probabilities, on_picture):
    session, inputs, ends = _open(file, right.pictures)
    (source,), (sink,) = session.inputs, session.outputs
    found = logits(session, _told(graph.path.name, inputs, on_picture), ends=ends)
    wanted = right.logits
    soft = gives_probabilities(graph)
    if probabilities is not None and probabilities != soft:
        wanted, found = (wanted, softmax(found)) if probabilities else (softmax(wanted), found)
        soft = True
    compared = agreement(
        wanted,
        found,
        pictures=right.words,
        tolerance=Tolerance(**file["tolerance"]),
        saturation=saturation(graph, inputs, wanted, ends, counted.macs),
        probabilities=soft,
    )
    return {
        "agreement": dataclasses.asdict(compared),
        "input": dataclasses.asdict(ends.get(source.name, source)),
        "output": dataclasses.asdict(ends.get(sink.name, sink)),
        "params": counted.params,
        "macs": counted.macs,
        "float_ops": list(counted.float_ops),
    }


def gives_probabilities(graph: Graph) -> bool:
    """Whether the last op that computes is a softmax."""
    last = set(exits(graph))
    return any(op.kind in _SOFTMAX and op.outputs[0].name in last for op in graph.ops)
