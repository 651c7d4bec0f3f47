"""One file by HTTP, a part of it at a time: what was cut off goes on where it was, if the server can.

What is here lies in `partial`; `<partial>.json` says what it is a part of (see `_State`). A server shows by
its validator, an ETag or a date, whether it still has the same file.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import queue
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from edgecls import __version__, artifact
from edgecls.errors import DownloadFailed

#: A server has so long to take a connection, and to send something more.
_CONNECT_SECONDS, _READ_SECONDS = 5, 30
#: Tries for one file, and the pause before the second; each next one is twice as long.
_TRIES, _PAUSE_SECONDS = 4, 1.0
#: A server that did not answer is not asked again for so long.
_FORGET_SECONDS = 60
#: HTTP statuses that may be others the next time.
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class _State:
    """What a partial file is a part of. total: bytes of the whole; told: the server's own digest of it."""

    url: str
    validator: str | None
    total: int | None
    told: str | None


class _Again(Exception):
    """Why a try failed that the next one may make good."""


def download(url: str, partial: Path, on_bytes: Callable[[int, int | None], None]) -> str | None:
    """Bring all of `url` to `partial`. Returns its digest, "sha256:...", if the server tells it.

    Raises DownloadFailed, and then what is here of it stays; OSError where `partial` cannot be written.
    """
    import requests

    retried = (_Again, requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    refused = (requests.exceptions.SSLError, requests.exceptions.ProxyError)
    with requests.Session() as session:
        session.max_redirects = 10
        session.headers.update({"User-Agent": f"edgecls/{__version__}", "Accept-Encoding": "identity"})
        for number in range(_TRIES):
            if number:
                time.sleep(_PAUSE_SECONDS * 2 ** (number - 1))
            try:
                return _try(session, url, partial, on_bytes)
            except (_Again, requests.RequestException) as error:
                final = number == _TRIES - 1 or not isinstance(error, retried) or isinstance(error, refused)
                if final:
                    if isinstance(error, (requests.ConnectionError, requests.Timeout)):
                        _silent[urlsplit(url).netloc] = time.monotonic(), _why(error)
                    raise _failed(url, _why(error)) from error
            except OSError:
                drop(partial)
                raise


def drop(partial: Path) -> None:
    """Forget what is here of a file."""
    for path in (partial, _beside(partial)):
        path.unlink(missing_ok=True)


def _try(session, url, partial, on_bytes) -> str | None:
    """Ask once for what is missing."""
    state = _state(partial, url)
    done = partial.stat().st_size if state and partial.exists() else 0
    if state and done == state.total:
        return state.told
    resume = done and state.validator
    headers = {"Range": f"bytes={done}-", "If-Range": state.validator} if resume else {}
    timeout = (_CONNECT_SECONDS, _READ_SECONDS)
    with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
        _check(response, url)
        goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {done}-")
        if not (resume and goes_on and _validator(response) in (None, state.validator)):
            drop(partial)
            if response.status_code != 200:  # the server has no such part
                raise _Again(f"HTTP {response.status_code} {response.reason}")
            done, state = 0, _begin(response, url, partial)
        if state.total and state.total - done > shutil.disk_usage(partial.parent).free:
            raise OSError(errno.ENOSPC, f"no space for {state.total / 1e6:.1f} MB")
        with open(partial, "ab") as file:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                on_bytes(done, state.total)
    if state.total not in (None, done):
        raise _Again(f"it ended after {done} of {state.total} bytes")
    return state.told


def _check(response, url) -> None:
    """Raise DownloadFailed or _Again where the answer is not the file or a part of it."""
    status = f"HTTP {response.status_code} {response.reason}"
    way = [answer.url for answer in (*response.history, response)]
    if url.startswith("https:") and not all(place.startswith("https:") for place in way):
        raise _failed(url, f"it leads to {response.url}, which is not encrypted")
    if response.status_code in _TRANSIENT:
        raise _Again(status)
    if response.status_code not in (200, 206, 416):
        raise _failed(url, status)
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _failed(url, "a web page came in its place; does this network want a login?")


def _begin(response, url, partial) -> _State:
    """Note down what a first part is a part of."""
    length = response.headers.get("Content-Length", "")
    state = _State(
        url=url,
        validator=_validator(response),
        total=int(length) if length.isdecimal() else None,
        told=_told(response, url),
    )
    with artifact.writing(_beside(partial)) as file:
        json.dump(dataclasses.asdict(state), file)
    return state


def _validator(response) -> str | None:
    etag = response.headers.get("ETag", "W/")
    # A weak ETag does not say that the bytes are the same.
    return response.headers.get("Last-Modified") if etag.startswith("W/") else etag


def _told(response, url) -> str | None:
    """The sha256 that Hugging Face names where it leads to the file, which lies elsewhere."""
    for answer in (*response.history, response):
        linked = answer.headers.get("X-Linked-Etag", "").strip('"')
        if urlsplit(answer.url).hostname == urlsplit(url).hostname and re.fullmatch("[0-9a-f]{64}", linked):
            return f"sha256:{linked}"
    return None


def _state(partial: Path, url: str) -> _State | None:
    """What `partial` is a part of; None where that is not known, or it is of another file."""
    try:
        state = artifact.decode(_State, json.loads(_beside(partial).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return state if state.url == url else None


def _beside(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


#: Server -> when it last did not answer, and why.
_silent: dict[str, tuple[float, str]] = {}


def check_reachable(url: str) -> None:
    """Raise DownloadFailed where no connection can be had to the server, or to the proxy before it.

    A name may take minutes to be looked up in vain, and each of its addresses as long as a timeout:
    all of it together has so long here as one connection, and of many files of a server that is
    not there the first alone waits.
    """
    from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy

    server = urlsplit(url).netloc
    asked, reason = _silent.get(server, (0.0, None))
    if reason and time.monotonic() - asked < _FORGET_SECONDS:
        raise _failed(url, reason)
    proxy = select_proxy(url, get_environ_proxies(url))
    way = urlsplit(prepend_scheme_if_needed(proxy, "http") if proxy else url)
    if found := _unreachable(way.hostname, way.port or {"https": 443}.get(way.scheme, 80)):
        reason = f"no connection to {'the proxy ' * bool(proxy)}{way.hostname}: {found}"
        _silent[server] = time.monotonic(), reason
        raise _failed(url, reason)


def _unreachable(host: str, port: int) -> str | None:
    """Why a server takes no connection, None where it does."""
    answer: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def connect():
        try:
            socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
            answer.put(None)
        except OSError as error:
            answer.put(error.strerror or str(error))

    threading.Thread(target=connect, daemon=True).start()
    try:
        return answer.get(timeout=_CONNECT_SECONDS)
    except queue.Empty:
        return f"no answer within {_CONNECT_SECONDS} s"


def _failed(url: str, reason: str) -> DownloadFailed:
    return DownloadFailed(f"{url} cannot be fetched: {reason}")


def _why(error: Exception) -> str:
    """In words, from what lies at the bottom of an error of requests."""
    import requests

    cause = error
    while inner := cause.__cause__ or cause.__context__:
        cause = inner
    words = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    if isinstance(error, requests.exceptions.SSLError):
        return f"no trust in its encryption ({words}); REQUESTS_CA_BUNDLE names a certificate to trust"
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {_CONNECT_SECONDS} s"
    if isinstance(cause, TimeoutError):
        return f"nothing came for {_READ_SECONDS} s"
    return words
