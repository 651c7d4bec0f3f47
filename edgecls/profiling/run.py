"""One measurement: what the file is, then how it runs."""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from edgecls import artifact, errors, process, runtimes
from edgecls.profiling import machine
from edgecls.profiling.record import Cost, Profile, Settings, Subject, Timing

if TYPE_CHECKING:
    from edgecls.graph import Graph


def describe(path: Path) -> Subject:
    """What is known of a model file before it runs: its manifest's word, and its graph's.

    Raises BadFile for what is not a model, UsageError where its size is left open or no runtime
    runs files of its kind.
    """
    from edgecls import graph

    runtimes.for_file(path)
    read = graph.read(path)
    cost, notes = None, ()
    try:
        cost = count(read)
    except errors.UncountableOp as error:
        notes = (f"MACs are unknown: {error}",)
    known = {
        "file": path.name,
        "bytes": path.stat().st_size,
        "format": read.format,
        "cost": cost,
    }
    if not artifact.manifest_path(path).exists():
        found = precision(read)
        return Subject(model=path.stem, sha256=artifact.sha256(path), precision=found, notes=notes, **known)
    manifest = artifact.load(path).manifest
    return Subject(
        model=manifest.model.name,
        sha256=manifest.sha256,
        precision=manifest.precision,
        tier=manifest.model.tier,
        trained=manifest.weights.trained,
        notes=notes,
        **known,
    )


def profile_file(path: Path, subject: Subject, settings: Settings, *, run: str) -> Profile:
    """Measure `path` in a fresh child process; what fails is told in the record's `error`.

    Nothing else may run meanwhile: measure one file at a time.
    """
    runtime = runtimes.for_file(path)
    load, busy = machine.load_average(), machine.busy_cores()
    timing, error = None, None
    try:
        job = {"path": str(path), **dataclasses.asdict(settings)}
        outcome = process.run("edgecls.profiling.measure:measure", job)
        timing = artifact.decode(Timing, {**outcome.result, "peak_memory": outcome.peak_memory})
    except errors.EdgeclsError as failure:
        error = str(failure)
    return Profile(
        run=run,
        time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        subject=subject,
        runtime=runtime.name,
        runtime_version=runtime.version,
        settings=settings,
        machine=machine.describe(),
        load_average=load,
        busy_cores=busy,
        timing=timing,
        error=error,
    )


def count(graph: Graph) -> Cost:
    """Raises UncountableOp."""
    from edgecls.graph import cost

    counted = cost.cost(graph)
    return Cost(
        params=counted.params,
        macs=counted.macs,
        activation_bytes=counted.activation_bytes,
        ops=dict(counted.ops),
    )


def precision(graph: Graph) -> str:
    """Of a file that has no manifest: the type of most of its constants' bytes.

    "dynamic" is int8 weights with float activations.
    """
    stored = Counter()
    for tensor in graph.tensors.values():
        if tensor.constant and tensor.dtype != "string":
            stored[tensor.dtype] += tensor.nbytes
    weights = stored.most_common(1)[0][0] if stored else graph.inputs[0].dtype
    if weights not in ("int8", "uint8"):
        return weights.replace("float", "fp")
    computed = {tensor.dtype for tensor in graph.tensors.values() if not tensor.constant}
    dynamic = any(op.kind == "DynamicQuantizeLinear" for op in graph.ops) or not computed & {"int8", "uint8", "int16"}
    return "dynamic" if dynamic else "int16x8" if "int16" in computed else "int8"
