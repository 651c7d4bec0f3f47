"""`edgecls recipes`."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Annotated

import typer

from edgecls.exporters.recipe import MEASURED_ON, RECIPES
from edgecls.text import table


def recipes(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with everything known.")] = False,
) -> None:
    """Explain what `edgecls export --recipe NAME` makes, when to choose it, and what it costs.

    size and time are shares of the float file's, the time that of one inference on one core of a CPU with
    integer dot products. Ends are the types of input and output, the default first. Recipes that need
    pictures take ranges of activations from those of --calibration.
    """
    if as_json:
        listed = []
        for one in RECIPES.values():
            figures = zip(MEASURED_ON, map(dataclasses.asdict, one.figures), strict=True)
            listed.append(dataclasses.asdict(one) | {"measured": dict(figures)})
        print(json.dumps(listed, indent=1))
        return
    times = (f"time {net}" for net in MEASURED_ON)
    headers = ("recipe", "format", "size", *times, "needs", "ends", "what it is", "choose it")
    rows = [
        (
            one.precision,
            one.format,
            f"{one.figures[0].size:.2f}",
            *(f"{each.time:.2f}" if each.time < 10 else f"{each.time:.0f}" for each in one.figures),
            "pictures" if one.calibrated else "-",
            "|".join(one.io),
            one.summary,
            one.choose,
        )
        for one in RECIPES.values()
    ]
    numeric = (False, False, True, *[True] * len(MEASURED_ON), False, False, False, False)
    print(table(headers, rows, numeric=numeric, styled=sys.stdout.isatty()), end="")
