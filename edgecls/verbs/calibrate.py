"""Whether a set of pictures is fit to calibrate with: two halves of it ought to give the same file."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecls import artifact, pretrained, process
from edgecls.artifact import CalibrationInfo
from edgecls.exporters import calibration as calibrations
from edgecls.exporters import source as sources
from edgecls.verbs.export import export
from edgecls.verbs.pipeline import Stage

#: More than float32 can tell: of files that say the same.
IDENTICAL_DB = 200.0
#: Halves whose files differ by more than this in their distance from float, dB, one being less than
#: sound, or in the step of any tensor by more than this factor, were too small. On a trained
#: MobileNetV2, photographs of all classes differ by 0.8 dB and 1.5 times where there are 16, by 0.3 and 1.2 where there are 100.
MAX_DIFFERENCE_DB, SOUND_DB, MAX_RATIO = 2.0, 30.0, 2.0


@dataclass(frozen=True, kw_only=True)
class CalibrationCheck:
    """What became of int8 files that were calibrated with one half of the pictures each.

    first_db, second_db: SQNR of their logits against the float model's, dB; between_db: of the
    second's against the first's. Two files without any error in common have a between_db of 3 less
    than the mean of the others. ratio: by how much the steps of a tensor of activations differ, where they
    do most; tensor: its name. distinct: pictures without those that nearly repeat others.
    warnings: what is wrong with the set, in words; none is a good sign.
    """

    info: CalibrationInfo
    distinct: int
    first_db: float
    second_db: float
    between_db: float
    ratio: float
    tensor: str
    judged_on: str
    warnings: tuple[str, ...]


def check_calibration(
    target: str | Path,
    *,
    calibration: str | Path,
    calibration_method: str = calibrations.METHOD,
    samples: int | None = None,
    format: str | None = None,
    weights: str | Path = pretrained.AUTO,
    preprocess: str | None = None,
    seed: int = 0,
    out: str | Path = artifact.FOLDER,
    on_stage: Callable[[Stage], None] = lambda stage: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> CalibrationCheck:
    """Quantize with disjoint halves of a calibration set, and compare what they make.

    target, weights, preprocess, seed, out: see `export`, which makes the float file where it is not up
    to date. calibration, samples: see `calibration.plan`. format: "tflite" or "onnx"; by default the
    first that the target can become.
    Raises as `export` does, and UsageError for fewer than two pictures.
    """
    source = sources.resolve(target, weights=weights, preprocess=preprocess, seed=seed)
    format = format or source.formats[0]
    (made,) = export(
        target,
        formats=format,
        weights=weights,
        calibration=calibration,
        samples=samples,
        calibration_method=calibration_method,
        preprocess=preprocess,
        seed=seed,
        out=out,
        on_stage=on_stage,
        on_note=on_note,
    )
    manifest = made.manifest
    plan = calibrations.plan(
        calibration, preprocess=manifest.preprocess, samples=samples, seed=seed, method=calibration_method
    )

    def show(event):
        done, total = event.get("done", 0), event.get("total", 0)
        on_stage(Stage(source.name, format, "calibrate", done, total))

    with tempfile.TemporaryDirectory() as work:
        found = process.run(
            "edgecls.verbs.calibrate:halves",
            {
                "plan": plan.to_json(),
                "size": manifest.model.input_size[0],
                "channels": manifest.input.shape[3 if manifest.layout == "NHWC" else 1],
                "layout": manifest.layout,
                "source": str(made.path),
                "format": format,
                "work": work,
            },
            on_event=show,
        ).result
    return artifact.decode(CalibrationCheck, found)


def halves(
    plan: dict[str, Any], size: int, channels: int, layout: str, source: str, format: str, work: str, emit
) -> dict[str, Any]:
    """Child process: a CalibrationCheck as JSON. source: the float file; work: a folder."""
    import numpy as np

    from edgecls import images, runtimes, verification
    from edgecls.errors import UsageError
    from edgecls.exporters import picture_checks

    plan = calibrations.Plan.from_json(plan).fit(size, channels)
    files = {name: str(Path(work, f"{name}.npy")) for name in ("calibration", "held")}
    pictures = calibrations.materialise(plan.to_json(), size, channels, *files.values())
    taken = np.load(files["calibration"])
    held = images.inputs(np.load(files["held"]), plan.preprocess)[:, None]
    if len(taken) < 2:
        raise UsageError(f"{plan.source} has one picture; two halves need two at least")
    distinct = picture_checks.count_distinct(taken[:, 0])
    if layout == "NCHW":
        taken, held = (np.ascontiguousarray(values.transpose(0, 1, 4, 2, 3)) for values in (taken, held))
    exporter, logits, steps = importlib.import_module(f"edgecls.exporters.{format}"), [], []
    for number, half in enumerate((taken[::2], taken[1::2])):
        target, inputs = Path(work, f"{number}.{format}"), Path(work, f"{number}.npy")
        np.save(inputs, half)
        exporter.quantize(
            source=source,
            target=str(target),
            precision="int8",
            calibration=str(inputs),
            input_range=plan.preprocess and plan.preprocess.value_range,
            io="float32",
            method=plan.method,
            emit=emit,
        )
        logits.append(verification.logits(runtimes.open(target), held))
        steps.append(_steps(target))
    right = verification.logits(runtimes.open(source), held)
    first, second = (_sqnr_db(right, one) for one in logits)
    apart = {name: max(step / steps[1][name], steps[1][name] / step) for name, step in steps[0].items()}
    tensor = max(apart, key=apart.get)
    shown = tensor.partition(";")[0]  # LiteRT's names list all ops that were fused
    warnings = [
        *pictures["warnings"],
        *_differences(first, second, apart[tensor], shown),
    ]
    return {
        "info": pictures["info"],
        "distinct": distinct,
        "first_db": first,
        "second_db": second,
        "between_db": _sqnr_db(*logits),
        "ratio": apart[tensor],
        "tensor": shown,
        "judged_on": pictures["held"]["words"],
        "warnings": warnings,
    }


def _differences(first, second, ratio, tensor):
    advice = "take more pictures, of all that the model will see"
    if abs(first - second) > MAX_DIFFERENCE_DB and min(first, second) < SOUND_DB:
        yield f"one half makes a file of {first:.1f} dB, the other one of {second:.1f} dB; {advice}"
    if ratio > MAX_RATIO:
        yield f"from one half the range of {tensor} is {ratio:.1f} times as wide as from the other; {advice}"


def _sqnr_db(reference, value) -> float:
    """Of equal ones `IDENTICAL_DB`."""
    from edgecls import verification

    ratio = verification.sqnr_db(reference, value)
    return IDENTICAL_DB if ratio is None else min(ratio, IDENTICAL_DB)


def _steps(path) -> dict[str, float]:
    """What one integer stands for in each tensor of activations of an int8 file."""
    from edgecls.graph import read

    graph = read(path)
    found = {
        tensor.name: float(tensor.quantization.scale[0])
        for tensor in graph.tensors.values()
        if not tensor.constant and tensor.quantization is not None and tensor.quantization.axis is None
    }
    quantizing = (op for op in graph.ops if op.kind == "QuantizeLinear" and op.inputs[1].constant)
    return found | {op.inputs[0].name: float(graph.values(op.inputs[1])) for op in quantizing}
