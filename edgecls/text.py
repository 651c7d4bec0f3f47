"""Plain text for people: aligned tables, numbers in the field's units."""

from __future__ import annotations

from collections.abc import Sequence


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[bool], styled: bool = False
) -> str:
    """Aligned columns, numeric ones to the right, ending in a newline.

    As wide as it is: a terminal that is narrower wraps its lines, which keeps the figures whole.
    styled: with a terminal's control sequences.
    """
    lines = [headers, *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    aligned = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    ]
    if styled:
        aligned[0] = f"\x1b[1m{aligned[0]}\x1b[0m"
    return "\n".join(aligned) + "\n"


def count(number: float) -> str:
    """3504872 -> "3.50 M": K, M and G are powers of 1000."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if number >= size:
            return f"{number / size:.2f} {unit}" if number < 10 * size else f"{number / size:.1f} {unit}"
    return f"{number:.0f}"


def printable(text: str) -> str:
    """At most 500 letters of the first line of `text`, which a file may have made up.

    Without what is a command to a terminal.
    """
    return "".join(one if one.isprintable() else "?" for one in text.strip().partition("\n")[0][:500])
