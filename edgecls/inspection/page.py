"""The errors of all layers as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edgecls.inspection.finding import worst
from edgecls.inspection.layers import LayerError

#: A bar of the whole width is an error as large as the signal; none is left from here on, dB.
_QUIET_DB = 60.0

_STYLE = """
:root { color-scheme: light dark; --own: #c2410c; --all: #f5b78f; --line: #8884; --fault: #c2410c1a; }
body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h1, p { overflow-wrap: anywhere; } .cure { font-weight: 600; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .2rem .5rem; border-bottom: 1px solid var(--line); }
th { text-align: left; vertical-align: bottom; line-height: 1.2; }
th { position: sticky; top: 0; background: Canvas; }
td.n, th.n { text-align: right; } td.n { white-space: nowrap; font-variant-numeric: tabular-nums; }
td.name { min-width: 14rem; overflow-wrap: anywhere; } td.bars { width: 30%; }
small { display: block; opacity: .65; line-height: 1.2; }
.bar { height: .5rem; border-radius: .1rem; }
.own { background: var(--own); } .all { background: var(--all); }
.key { display: inline-block; width: 1.5rem; margin-right: .3rem; } a { color: inherit; }
tr.fault { background: var(--fault); } tr.fault td.name { font-weight: 700; } tr { scroll-margin-top: 3rem; }
@media (max-width: 56rem) { .more { display: none; } td.name { min-width: 8rem; } }
"""
#: Figures, and whether they are left out where the window is narrow.
_HEADERS = {
    **dict.fromkeys(("own dB", "in all dB"), False),
    **dict.fromkeys(("type", "scale", "zero point", "levels used", "clipped", "widest channel"), True),
}
#: Layers that are named above the bars.
_WORST = 5


def page(
    title: str, lines: Sequence[str], cure: str | None, layers: Sequence[LayerError], fault: str | None
) -> str:
    """lines: what is said above the bars; layers: in the order of the graph; fault: the tensor at fault."""
    heads = "".join(f"<th{_class(more)}>{head}</th>" for head, more in _HEADERS.items())
    said = "".join(f"<p>{escape(line)}</p>" for line in lines)
    said += f'<p class="cure">{escape(cure)}</p>' if cure else ""
    numbers = {one.tensor: number for number, one in enumerate(layers)}
    links = ", ".join(
        f'<a href="#layer{numbers[one.tensor]}">{escape(one.layer)}</a> {one.arises_db:.1f} dB'
        for one in worst(layers)[:_WORST]
    )
    rows = "\n".join(_row(number, one, one.tensor == fault) for number, one in enumerate(layers))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{_STYLE}</style></head><body>
<h1>{escape(title)}</h1>
{said}
<p>worst: {links or "none"}</p>
<p><span class="key bar own"></span>error of the layer alone<br>
<span class="key bar all"></span>with all layers before it<br>
a whole bar is 0 dB, no bar {_QUIET_DB:.0f} dB and more</p>
<table><thead><tr><th>layer</th><th>error</th>{heads}</tr></thead><tbody>
{rows}
</tbody></table></body></html>
"""


def _class(more: bool) -> str:
    return f' class="n{" more" * more}"'


def _row(number: int, one: LayerError, at_fault: bool) -> str:
    bars = "".join(
        f'<div class="bar {kind}" style="width:{_width(ratio):.1f}%"></div>'
        for kind, ratio in (("own", one.arises_db), ("all", one.arrives_db))
    )
    texts = zip(figures_of(one), _HEADERS.values(), strict=True)
    figures = "".join(f"<td{_class(more)}>{escape(text)}</td>" for text, more in texts)
    breakable = escape(one.layer).replace("_", "_<wbr>").replace("/", "/<wbr>")
    name = f'<td class="name" title="{escape(one.tensor)}">{breakable}<small>{escape(one.op)}</small></td>'
    start = f'<tr id="layer{number}"{" class=fault" * at_fault}>'
    return f'{start}{name}<td class="bars">{bars}</td>{figures}</tr>'


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
        "-" if one.clipped is None else "<0.01%" if 0 < one.clipped < 1e-4 else f"{100 * one.clipped:.2g}%",
        "-" if one.spread is None else f"{one.spread:.1f}x",
    )
