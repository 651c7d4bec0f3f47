"""`edgecls show`."""

from __future__ import annotations

import re
import sys
from typing import Annotated

import typer

from edgecls import registry
from edgecls.text import count, table


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An architecture, such as mobilenet_v2.")],
    classes: Annotated[
        int | None, typer.Option(help="Classes, if not the row's own.", show_default=False)
    ] = None,
    input_size: Annotated[
        int | None, typer.Option(help="Pixels, if not the row's own.", show_default=False)
    ] = None,
) -> None:
    """Show one architecture: the row, what int8 is likely to do to it, its layers, and MACs per stage."""
    spec = registry.get(name)
    from edgecls import process
    from edgecls.exporters.advice import sentence
    from edgecls.exporters.recipe import FORMATS, RECIPES

    job = {"name": spec.key, "classes": classes, "input_size": input_size}
    described = process.run("edgecls.exporters.advice:described", job).result
    layers = described["layers"]
    params, macs = (sum(layer[field] for layer in layers) for field in ("params", "macs"))
    step = f", a multiple of {spec.size_step}" if spec.size_step > 1 else ""
    size, channels = input_size or spec.input_size, spec.preprocess.channels
    styled = sys.stdout.isatty()
    facts = {
        "name": spec.key,
        "equals": spec.reference,
        "family": f"{spec.family.title} ({spec.family.year}), {spec.tier}",
        "idea": spec.family.idea,
        "paper": spec.family.paper,
        "input": f"{size}x{size}x{channels}, at least {spec.min_input_size}{step}",
        "classes": str(classes or spec.classes),
        "params": f"{params:,}",
        "MACs": f"{macs:,} (1 MAC = 2 FLOPs)",
    }
    for label, value in facts.items():
        print(f"{label:8} {value}")
    for weights in [f"{w.tag}{_accuracy(w)}, {w.url}" for w in spec.weights] or ["none known"]:
        print(f"weights  {weights}")
    for recipe in (RECIPES[f"{format}-int8"] for format in FORMATS):
        if likely := sentence(described["trait"], recipe):
            print(f"int8     {likely}")
    if others := registry.namesakes(spec):
        print(f"also     {', '.join(others)}")
    rows = [
        (each["name"], each["kind"], _shape(each["output_shape"]), count(each["params"]), count(each["macs"]))
        for each in layers
    ]
    headers, numeric = ("layer", "kind", "output", "params", "MACs"), (False, False, False, True, True)
    print()
    print(table(headers, rows, numeric=numeric, styled=styled))
    stages = [
        (stage, _shape(shape), count(stage_params), count(stage_macs), f"{100 * stage_macs / macs:.1f}%")
        for stage, (shape, stage_params, stage_macs) in _stages(layers).items()
    ]
    headers, numeric = ("stage", "output", "params", "MACs", "share"), (False, False, True, True, True)
    print(table(headers, stages, numeric=numeric, styled=styled), end="")


def _accuracy(weights):
    size = weights.preprocess.crop
    shares = {"top-1": weights.top1, "top-5": weights.top5}
    known = [f"{name} {share:.1f}%" for name, share in shares.items() if share is not None]
    return f": {', '.join(known)} at {size}x{size}" if known else ""


def _shape(shape):
    return "x".join(map(str, shape))


def _stages(layers):
    """Layers with weights summed by the first word of their name, which is the stage or block."""
    stages: dict[str, tuple] = {}
    for layer in layers:
        stage = re.match(r"[a-z]*\d*", layer["name"])[0]
        _, params, macs = stages.get(stage, (None, 0, 0))
        stages[stage] = (layer["output_shape"], params + layer["params"], macs + layer["macs"])
    return {stage: sums for stage, sums in stages.items() if sums[1]}
