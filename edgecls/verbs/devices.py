"""The phones that adb knows, and what they tell of themselves."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from edgecls.devices import adb, facts
from edgecls.devices.adb import Listed, Phone
from edgecls.devices.facts import Facts
from edgecls.errors import WorkFailed


@dataclass(frozen=True, kw_only=True)
class Seen:
    """facts: None of a phone that is not ready, or does not answer."""

    listed: Listed
    facts: Facts | None


def devices(*, on_note: Callable[[str], None] = lambda note: None) -> list[Seen]:
    """Every phone that adb knows, ready or not. Raises UsageError without adb, WorkFailed where it fails."""

    def look(one: Listed) -> Seen:
        if not one.ready:
            return Seen(listed=one, facts=None)
        try:
            return Seen(listed=one, facts=facts.describe(Phone(one.serial)))
        except WorkFailed as error:
            on_note(str(error))
            return Seen(listed=one, facts=None)

    found = adb.listed()
    with ThreadPoolExecutor(max(1, len(found))) as pool:
        return list(pool.map(look, found))
