"""Plain text for people: aligned tables, numbers in the field's units."""

from __future__ import annotations

import io
from collections.abc import Sequence


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[bool], styled: bool = False) -> str:
    """Aligned columns, numeric ones to the right, ending in a newline.

    As wide as it is: a terminal that is narrower wraps its lines, which keeps the figures whole.
    styled: with a terminal's control sequences.
    """
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header, right in zip(headers, numeric, strict=True):
        grid.add_column(header, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    console = Console(file=io.StringIO(), width=1000, force_terminal=styled, markup=False, emoji=False)
    console.print(grid)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def count(number: float) -> str:
    """3504872 -> "3.5 M", with three figures at the most: K, M and G are powers of 1000."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if number >= size:
            return f"{number / size:.2f} {unit}" if number < 10 * size else f"{number / size:.1f} {unit}"
    return f"{number:.0f}"
