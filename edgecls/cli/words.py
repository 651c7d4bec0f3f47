"""Lists on the command line: names with commas between them."""

from __future__ import annotations

from edgecls.errors import UsageError


def words(text: str | None) -> list[str] | None:
    """The names in `text`; None where it is. Raises UsageError where a name is empty."""
    if text is None:
        return None
    found = [word.strip() for word in text.split(",")]
    if not all(found):
        raise UsageError(f"expected names with commas between them, got {text!r}")
    return found
