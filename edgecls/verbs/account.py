"""What the manifest of a file that was made says: how, of what, with what in it, and what to know of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgecls import artifact, labels, verification
from edgecls.artifact import Agreement, CalibrationInfo, Manifest, ModelInfo, TensorInfo
from edgecls.exporters import advice
from edgecls.exporters.calibration import SYNTHETIC
from edgecls.exporters.recipe import Recipe
from edgecls.metadata import phones
from edgecls.verbs.job import Job, tool_versions

#: Float ops of an int8 graph that a note names; the manifest holds all.
_SHOWN = 3


def manifest(
    job: Job, recipe: Recipe, result: Mapping, facts: Mapping, *, fingerprint: str, float_seconds: float
) -> Manifest:
    """Of the file that `job` made by `recipe`; its size and digest are known once it is published.

    result: what its line found of the file (see `line.finish`). facts: "model" and "pictures", what the
    preparation found (see `making.make` and `line.prepare`). float_seconds: what making float files took.
    """
    source, pictures, model = job.source, facts["pictures"], facts["model"]
    calibration = artifact.decode(CalibrationInfo, pictures["info"]) if recipe.calibrated else None
    preprocess = source.preprocess and source.preprocess.fit(model["input_size"][0], model["channels"])
    return Manifest(
        file=job.target(recipe).name,
        bytes=0,
        sha256="",
        format=recipe.format,
        precision=recipe.precision,
        recipe=recipe.name,
        model=ModelInfo(
            name=source.spec.key if source.spec else source.name,
            source=source.spec.source if source.spec else "file",
            reference=source.reference,
            tier=source.tier,
            classes=model["classes"],
            input_size=tuple(model["input_size"]),
            params=model.get("params"),
            folded_params=model["folded_params"],
            macs=model["macs"],
            trait=model.get("trait"),
            notes=tuple(model["notes"]),
        ),
        graph_params=result["params"],
        graph_macs=result["macs"],
        lowerings=(*model["lowerings"], *result["lowerings"]),
        weights=source.weights,
        input=artifact.decode(TensorInfo, result["input"]),
        output=artifact.decode(TensorInfo, result["output"]),
        layout=model["layout"],
        preprocess=preprocess,
        calibration=calibration,
        agreement=artifact.decode(Agreement, result["agreement"]),
        reference=job.reference.name,
        float_ops=tuple(result["float_ops"]) if recipe.calibrated else (),
        notes=tuple(_notes(job, recipe, result, facts, calibration)),
        labels=labels.fit(source.labels, model["classes"]),
        options=job.options(recipe),
        tools=tool_versions(),
        fingerprint=fingerprint,
        seconds=round(result["seconds"] + float_seconds * (recipe.precision == "fp32"), 3),
    )


def _notes(job, recipe, result, facts, calibration) -> Iterator[str]:
    source, name, model = job.source, job.target(recipe).name, facts["model"]
    if untrained := source.weights.note:
        yield untrained
    yield from source.weights_notes()
    yield from source.notes
    yield from model["notes"]
    if likely := advice.sentence(model.get("trait"), recipe, per_tensor=job.per_tensor):
        yield likely
    yield from (f"{name}: {note}" for note in result["notes"])
    own, held = ((counts[kind], counts["macs"]) for counts, kind in ((model, "folded_params"), (result, "params")))
    if more := artifact.counts_note(own, held):
        yield f"{name} {more}"
    if source.labels and len(source.labels) < model["classes"]:
        yield f"the first of {model['classes']} outputs is the background; the labels name the others"
    if result["input"]["dtype"] == "uint8" and (said := source.preprocess) and not said.plain:
        yield f"{name} {phones.NOT_PLAIN}"
    if recipe.calibrated:
        if job.plan.kind == SYNTHETIC:
            yield "calibrated on synthetic pictures; give photographs with --calibration before it is used"
        yield from facts["pictures"]["warnings"]
        if ops := result["float_ops"]:
            more = f" and {len(ops) - _SHOWN} more" if len(ops) > _SHOWN else ""
            yield f"{name} computes in float: {', '.join(ops[:_SHOWN])}{more}"
    agreement = artifact.decode(Agreement, result["agreement"])
    per_tensor = recipe.calibrated and job.per_tensor
    next_step = verification.next_step(agreement, recipe.precision, calibration, per_tensor=per_tensor)
    if next_step and (source.weights.trained or not agreement.passed):  # random answers need no care
        yield f"{name}: {agreement.verdict}: {agreement.reason}; {next_step}"
