"""One measurement: what the file is, then how it runs."""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from pathlib import Path

from edgecls import artifact, errors, process, runtimes
from edgecls.graph import Graph, read
from edgecls.graph.cost import cost
from edgecls.graph.rules import DEQUANTIZE
from edgecls.profiling import machine
from edgecls.profiling.record import Profile, Settings, Subject, Timing

#: Types that weights come in; constants of others are biases, shapes and indices.
_PRECISIONS = {
    "float64": "fp64",
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "int8": "int8",
    "uint8": "int8",
    "int4": "int4",
    "uint4": "int4",
    "int2": "int2",
}


def describe(path: Path) -> Subject:
    """What is known of a model file before it runs: its manifest's word, and its graph's.

    Raises BadFile for what is not a model, UsageError where its size is left open or no runtime
    runs files of its kind.
    """
    runtimes.for_file(path)
    graph = read(path)
    notes = []
    try:
        counted = cost(graph)
        counted = dataclasses.replace(counted, ops=dict(counted.ops))  # asdict breaks a Counter
    except errors.UncountableOp as error:
        counted = None
        notes.append(f"MACs are unknown: {error}")
    measured = {"file": path.name, "bytes": path.stat().st_size, "format": graph.format, "cost": counted}
    if not artifact.manifest_path(path).exists():
        return Subject(
            model=path.stem,
            sha256=artifact.sha256(path),
            precision=precision(graph),
            params=counted and counted.params,
            macs=counted and counted.macs,
            notes=tuple(notes),
            **measured,
        )
    manifest = artifact.load(path).manifest
    model = manifest.model
    declared, own = (manifest.graph_params, manifest.graph_macs), (model.folded_params, model.macs)
    if counted and declared != (counted.params, counted.macs):
        notes.append(
            f"counts differ: its manifest says {declared[0]} params and {declared[1]} MACs, "
            f"the file holds {counted.params} and {counted.macs}"
        )
    elif more := artifact.counts_note(own, declared):
        notes.append(more)
    if not manifest.agreement.passed:
        notes.append("it does not agree with its float model: its figures are those of a broken export")
    return Subject(
        model=model.name,
        sha256=manifest.sha256,
        precision=manifest.precision,
        tier=model.tier,
        trained=manifest.weights.trained,
        params=model.folded_params,
        macs=model.macs,
        notes=tuple(notes),
        **measured,
    )


def profile_file(
    path: Path, subject: Subject, settings: Settings, *, run: str, error: str | None = None
) -> Profile:
    """Measure `path` in a fresh child process; what fails is told in the record's `error`.

    error: why there is no file; then nothing is measured.
    Nothing else may run meanwhile: measure one file at a time.
    """
    runtime = runtimes.for_file(path)
    load_average, busy_cores = machine.load_average(), machine.busy_cores()
    timing = None
    if error is None:
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
        load_average=load_average,
        busy_cores=busy_cores,
        timing=timing,
        error=error,
    )


def precision(graph: Graph) -> str:
    """Of a file that has no manifest: the type of most bytes of its weights, of the input without any.

    With float activations, int8 weights are "int8-weights" where they become floats first, else
    "dynamic" (TFLite) or "int8-dynamic" (ONNX).
    """
    stored = Counter()
    for tensor in graph.tensors.values():
        if tensor.constant and tensor.dtype in _PRECISIONS:
            stored[tensor.dtype] += tensor.nbytes
    weights = stored.most_common(1)[0][0] if stored else graph.inputs[0].dtype
    if _PRECISIONS.get(weights) != "int8":
        return _PRECISIONS.get(weights, weights)
    computed = {tensor.dtype for tensor in graph.tensors.values() if not tensor.constant}
    if any(op.kind == "DynamicQuantizeLinear" for op in graph.ops):
        return "int8-dynamic"
    if computed & {"int8", "uint8", "int16"}:
        return "int16x8" if "int16" in computed else "int8"
    readers = {op.kind for op in graph.ops for tensor in op.inputs if tensor and tensor.dtype == weights}
    return "int8-weights" if readers <= DEQUANTIZE else "dynamic"
