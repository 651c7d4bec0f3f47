"""A file in the cache: what is known of it, whether it is right, and how it gets there.

`<target>.json` says what is known of `target` (see `Record`). A download goes to `<target>.partial` and
moves to `target` once its digest is right. Of several processes that want one file the first downloads
it, and the others wait on `<target>.lock` and find it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgecls import artifact
from edgecls.errors import DownloadFailed
from edgecls.fetch import download

#: Variables of the environment: the cache's folder; whether nobody is to be asked, unless it is empty or 0.
CACHE, OFFLINE = "EDGECLS_CACHE", "EDGECLS_OFFLINE"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a file in the cache.

    sha256: of the file. published: the digest it was held against, as in `WeightSource.digest`, or the
    sha256 that the server told; None where nobody tells one: it is held against its own sha256 then,
    that of the first download.
    """

    url: str
    bytes: int
    sha256: str
    published: str | None


def cache_folder() -> Path:
    """`EDGECLS_CACHE`, or edgecls's folder where the platform keeps caches. It need not exist."""
    if named := os.environ.get(CACHE):
        return Path(named).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("edgecls", appauthor=False)


def record(target: Path, url: str, digest: str | None) -> Record | None:
    """What was found of `target` when it came here, without reading it; None where it did not."""
    known = _known(target)
    fits = known and _is_of(known, url, digest) and target.is_file() and target.stat().st_size == known.bytes
    return known if fits else None


def check(target: Path, url: str, digest: str | None) -> Record | None:
    """The record of `target`, a new one where other hands put it there; None unless its digest is right.

    Reads all of the file.
    """
    if not target.is_file():
        return None
    known, sha256 = _known(target), artifact.sha256(target)
    if known and _is_of(known, url, digest):
        return known if known.sha256 == sha256 else None
    if (known and digest is None) or not _agrees(target, digest, zipped=target.suffix == ".zip"):
        return None
    return Record(url=url, bytes=target.stat().st_size, sha256=sha256, published=digest)


def fetch(
    url: str,
    target: Path,
    *,
    digest: str | None = None,
    on_bytes: Callable[[int, int | None], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Record:
    """See to it that `target` is the file of `url`; nobody is asked where it is there and right.

    digest: as in `WeightSource.digest`: of the file inside, where `target` is a .zip.
    on_bytes is given how many bytes are here and how many there are, None where the server does not
    say; on_note what a user must be told.
    Raises DownloadFailed; `target` is as it was then.
    """
    try:
        found = check(target, url, digest)
        if found is None:
            if os.environ.get(OFFLINE, "0") not in ("", "0"):
                raise DownloadFailed(f"{url} is not in the cache, and {OFFLINE} is set")
            download.check_reachable(url)  # before anything is made
            target.parent.mkdir(parents=True, exist_ok=True)
            with _alone(target, on_note):
                return check(target, url, digest) or _fetch(url, target, digest, on_bytes, on_note)
        if _known(target) != found:
            with contextlib.suppress(OSError):  # some caches are for reading alone
                _write(target, found)
        return found
    except OSError as error:
        reason = f"{error.strerror or error}; name another folder with {CACHE}"
        raise DownloadFailed(f"cannot keep {url} in {str(target.parent)!r}: {reason}") from error


@contextlib.contextmanager
def open_zipped(path: Path) -> Iterator[BinaryIO]:
    """The one file inside a .zip. Raises BadZipFile where there is another number of them."""
    with zipfile.ZipFile(path) as archive:
        files = [member for member in archive.infolist() if not member.is_dir()]
        if len(files) != 1:
            raise zipfile.BadZipFile(f"{len(files)} files in it, expected one")
        with archive.open(files[0]) as file:
            yield file


@contextlib.contextmanager
def _alone(target: Path, on_note: Callable[[str], None]) -> Iterator[None]:
    """No other process has `target` to itself meanwhile."""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{target}.lock")
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        on_note(f"waiting for another process that downloads {target.name}")
        held = lock.acquire()
    with held:
        yield


def _fetch(url, target, digest, on_bytes, on_note) -> Record:
    """Download, hold against what is published, move into place."""
    partial = target.with_name(f"{target.name}.partial")
    resumed = partial.exists()
    told = download.download(url, partial, on_bytes)
    zipped = target.suffix == ".zip"
    if not (_agrees(partial, digest, zipped=zipped) and _agrees(partial, told, zipped=False)):
        download.drop(partial)
        if resumed:  # what was there before may be at fault
            return _fetch(url, target, digest, on_bytes, on_note)
        raise DownloadFailed(f"{url} is not the file that was published: its digest is not {digest or told}")
    sha256, first = artifact.sha256(partial), _known(target)
    if not (digest or told):
        if first and first.url == url and first.sha256 != sha256:
            download.drop(partial)
            reason = f"delete {str(_beside(target))!r} if that is right"
            raise DownloadFailed(f"{url} is not the file that it was when it was first downloaded; {reason}")
        on_note(f"nobody publishes a digest of {url}; from now on it is held against sha256 {sha256}")
    found = Record(url=url, bytes=partial.stat().st_size, sha256=sha256, published=digest or told)
    _write(target, found)
    os.replace(partial, target)
    download.drop(partial)
    return found


def _agrees(path: Path, digest: str | None, *, zipped: bool) -> bool:
    """Whether the file, or what is in it where it is `zipped`, has this digest; any file has None."""
    if digest is None:
        return True
    algorithm, _, digits = digest.partition(":")
    try:
        with open_zipped(path) if zipped else open(path, "rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest().startswith(digits)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError):
        if zipped:  # a damaged one may name places that are not in it
            return False
        raise


def _beside(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _is_of(known: Record, url: str, digest: str | None) -> bool:
    return known.url == url and digest in (None, known.published)


def _known(target: Path) -> Record | None:
    try:
        return artifact.decode(Record, json.loads(_beside(target).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write(target: Path, found: Record) -> None:
    with artifact.writing(_beside(target)) as file:
        json.dump(dataclasses.asdict(found), file, indent=1)
