"""The errors of all layers as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edgecls.inspection.layers import LayerError

#: A bar of the whole width is an error as large as the signal; none is left from here on, dB.
_QUIET_DB = 60.0

_STYLE = """
:root { color-scheme: light dark; --own: #c2410c; --all: #f5b78f; --line: #8884; }
body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; } .cure { font-weight: 600; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .15rem .5rem; border-bottom: 1px solid var(--line); }
th { text-align: left; position: sticky; top: 0; background: Canvas; } td.n, th.n { text-align: right; white-space: nowrap; }
td.bars { width: 30%; min-width: 10rem; } td.name { overflow-wrap: anywhere; }
.bar { height: .5rem; border-radius: .1rem; } .own { background: var(--own); } .all { background: var(--all); }
.key { display: inline-block; width: 1.5rem; margin: 0 .3rem 0 1rem; } tr.fault td.name { font-weight: 700; color: var(--own); }
"""
_HEADERS = (
    *("layer", "op", "error"),
    *("own dB", "in all dB", "type", "scale", "zero point", "levels used", "clipped", "widest channel"),
)
_TEXT = 3


def page(title: str, lines: Sequence[str], cure: str | None, layers: Sequence[LayerError], fault: str | None) -> str:
    """lines: what is said above the bars; layers: in the order of the graph; fault: the tensor at fault."""
    heads = "".join(f"<th{' class=n' * (i >= _TEXT)}>{head}</th>" for i, head in enumerate(_HEADERS))
    said = "".join(f"<p>{escape(line)}</p>" for line in lines) + (f'<p class="cure">{escape(cure)}</p>' if cure else "")
    rows = "\n".join(_row(one, one.tensor == fault) for one in layers)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{_STYLE}</style></head><body>
<h1>{escape(title)}</h1>
{said}
<p><span class="key bar own"></span>error of the layer alone
<span class="key bar all"></span>with all layers before it; a whole bar is 0 dB, no bar {_QUIET_DB:.0f} dB and more</p>
<table><thead><tr>{heads}</tr></thead><tbody>
{rows}
</tbody></table></body></html>
"""


def _row(one: LayerError, at_fault: bool) -> str:
    bars = "".join(
        f'<div class="bar {kind}" style="width:{_width(ratio):.1f}%"></div>'
        for kind, ratio in (("own", one.arises_db), ("all", one.arrives_db))
    )
    figures = "".join(f"<td class=n>{escape(text)}</td>" for text in figures_of(one))
    name = f'<td class="name" title="{escape(one.tensor)}">{escape(one.layer)}</td>'
    return f'<tr{" class=fault" * at_fault}>{name}<td>{escape(one.op)}</td><td class="bars">{bars}</td>{figures}</tr>'


def _width(ratio: float | None) -> float:
    return 0.0 if ratio is None else 100 * min(max(1 - ratio / _QUIET_DB, 0.0), 1.0)


def figures_of(one: LayerError) -> tuple[str, ...]:
    """own dB, in all dB, type, scale, zero point, levels used, clipped, widest channel; for people."""
    absent = "exact" if one.counterpart else "-"
    return (
        absent if one.arises_db is None else f"{one.arises_db:.1f}",
        absent if one.arrives_db is None else f"{one.arrives_db:.1f}",
        one.dtype,
        "-" if one.scale is None else f"{one.scale:.4g}",
        "-" if one.zero_point is None else str(one.zero_point),
        "-" if one.used is None else f"{100 * one.used:.0f}%",
        "-" if one.clipped is None else f"{100 * one.clipped:.2g}%",
        "-" if one.spread is None else f"{one.spread:.1f}x",
    )
