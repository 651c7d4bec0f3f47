"""Files on a phone: what is there unchanged stays, and what is sent appears whole or not at all."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import shlex
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecls.devices.adb import ANSWER_SECONDS, Phone
from edgecls.errors import EdgeclsError, UsageError, WorkFailed

#: Where models go: the folder that adb's user may write to on every phone, and programs may run from.
FOLDER = "/data/local/tmp/edgecls"

#: What is left of a transfer that was cut off is removed after so many minutes.
_LEFT_MINUTES = 60
#: Bytes a second that the slowest phone reads and digests.
_DIGEST_SPEED = 2_000_000
_FULL = ("no space left", "quota exceeded")
_CLOSED = (
    "read-only",
    "permission denied",
    "operation not permitted",
    "not a directory",
    "no such file",
    "is a directory",
)


@dataclass(frozen=True, kw_only=True)
class Item:
    """A file to be put on the phone as `name`."""

    name: str
    source: Path
    bytes: int
    sha256: str
    executable: bool = False


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A file on the phone. sent: False where it was there already."""

    path: str
    bytes: int
    sha256: str
    sent: bool


def place(
    phone: Phone,
    folder: str,
    items: Sequence[Item],
    *,
    elsewhere: str = "",
    on_bytes: Callable[[int, int], None] = lambda done, total: None,
) -> list[Placed]:
    """Put `items` into `folder` of the phone, which is made where it is missing.

    Each is sent under another name, its size and sha256 are taken on the phone, and then all of them
    are moved into place, the last item last. on_bytes(done, total) tells how far it is. elsewhere: how to
    choose another folder, for errors.
    Raises UsageError where the folder cannot be written to, WorkFailed where the phone is full, a file
    arrives damaged or the connection is lost; what was there before is untouched then.
    """
    refusal = functools.partial(_refusal, phone, folder, elsewhere)
    there = _look(phone, folder, items, refusal)
    missing = [item for item in items if there.get(item.name) != item.sha256]
    total, done = sum(item.bytes for item in missing), 0
    partials = {item.name: f"{folder}/.{item.name}.{uuid.uuid4().hex[:8]}.partial" for item in missing}
    on_bytes(0, total)
    try:
        for item in missing:
            before = done
            complaint = phone.push(
                item.source,
                partials[item.name],
                on_bytes=lambda some, before=before: on_bytes(before + some, total),
            )
            if complaint:
                raise refusal(complaint, item)
            done += item.bytes
            on_bytes(done, total)
        _check(phone, missing, partials)
        if missing:
            moves = [_move(item, partials[item.name], f"{folder}/{item.name}") for item in missing]
            code, words = phone.shell(" && ".join(moves))
            if code:
                raise refusal(words)
    except BaseException:
        with contextlib.suppress(EdgeclsError):  # a phone that is gone cannot be tidied
            phone.shell(f"rm -f {_quoted(partials.values())}", seconds=5, last_will=True)
        raise
    return [
        Placed(path=f"{folder}/{item.name}", bytes=item.bytes, sha256=item.sha256, sent=item in missing)
        for item in items
    ]


def digests(phone: Phone, paths: Mapping[str, int]) -> dict[str, str]:
    """sha256 of files on the phone, by path; paths: with their bytes. What cannot be read is left out."""
    if not paths:
        return {}
    # Phones have toybox; some old ones and boards have busybox, or a toybox without links to it.
    script = (
        'digest() { sha256sum "$1" || toybox sha256sum "$1" || busybox sha256sum "$1"; } 2>/dev/null; '
        f'for file in {_quoted(paths)}; do [ -f "$file" ] || continue; '
        'digest "$file" || echo "none  $file"; done'
    )
    _, text = phone.shell(script, seconds=_seconds(sum(paths.values())))
    found = dict(reversed(line) for line in re.findall(r"^([0-9a-f]{64}|none) [ *](.+)$", text, re.MULTILINE))
    for path, digest in found.items():
        if digest == "none":  # it has no such tool: the file comes back and is digested here
            found[path] = hashlib.sha256(phone.read(path, seconds=_seconds(paths[path]))).hexdigest()
    return found


def _look(
    phone: Phone, folder: str, items: Sequence[Item], refusal: Callable[[str], EdgeclsError]
) -> dict[str, str]:
    """Digests of what is there, by name. Makes the folder."""
    code, words = phone.shell(f"mkdir -p {shlex.quote(folder)}")
    if code:
        raise refusal(words)
    _, text = phone.shell(
        f"cd {shlex.quote(folder)} && for file in {_quoted(item.name for item in items)}; do "
        'if [ -d "$file" ]; then echo "folder $file"; '
        'elif [ -f "$file" ]; then stat -c "%s %n" "$file"; fi; done; '
        f"find . -maxdepth 1 -name '.*.partial' -mmin +{_LEFT_MINUTES} -exec rm -f {{}} \\; 2>/dev/null"
    )
    sizes = {name: size for size, name in re.findall(r"^(\d+|folder) (.+)$", text, re.MULTILINE)}
    for name, size in sizes.items():
        if size == "folder":
            path = f"{folder}/{name}"
            raise UsageError(
                f"{phone.serial} has a folder where a file belongs: {path}; "
                f"remove it with `adb shell rm -r {path}`"
            )
    same_size = {
        f"{folder}/{item.name}": item.bytes for item in items if sizes.get(item.name) == str(item.bytes)
    }
    return {path.rpartition("/")[2]: digest for path, digest in digests(phone, same_size).items()}


def _check(phone: Phone, items: Sequence[Item], partials: Mapping[str, str]) -> None:
    """Hold size and digest of what has arrived against what was sent."""
    if not items:
        return
    _, text = phone.shell(f'stat -c "%s %n" {_quoted(partials.values())}')
    sizes = {path: int(size) for size, path in re.findall(r"^(\d+) (.+)$", text, re.MULTILINE)}
    arrived = digests(phone, {partials[item.name]: item.bytes for item in items})
    for item in items:
        path = partials[item.name]
        if (sizes.get(path), arrived.get(path)) != (item.bytes, item.sha256):
            raise WorkFailed(
                f"{item.name} arrived damaged on {phone.serial}: {sizes.get(path)} of {item.bytes} bytes, "
                f"sha256 {arrived.get(path)} for {item.sha256}; repeat the call, with another cable or port "
                "if it happens again"
            )


def _move(item: Item, partial: str, path: str) -> str:
    mode, source, target = "755" if item.executable else "644", shlex.quote(partial), shlex.quote(path)
    # Shared storage has no modes and may say so.
    return f"{{ chmod {mode} {source} 2>/dev/null; mv -f {source} {target}; }}"


def _refusal(phone: Phone, folder: str, elsewhere: str, words: str, item: Item | None = None) -> EdgeclsError:
    """What the phone said, as an error with the way out."""
    other = f", or {elsewhere}" if elsewhere else ""
    said = words.lower()
    if any(each in said for each in _FULL):
        what = f"{item.name} ({item.bytes / 1e6:.2f} MB)" if item else folder
        return WorkFailed(f"{phone.serial} is full: no space left for {what}; make room there{other}")
    if any(each in said for each in _CLOSED):
        reason = words.strip().rpartition(": ")[2]
        return UsageError(
            f"cannot write to {folder} on {phone.serial}: {reason}" + (f"; {elsewhere}" if elsewhere else "")
        )
    return WorkFailed(f"{phone.serial} does not take {item.name if item else folder}: {words.strip()}")


def _seconds(size: int) -> float:
    return ANSWER_SECONDS + size / _DIGEST_SPEED


def _quoted(words) -> str:
    return " ".join(map(shlex.quote, words))
