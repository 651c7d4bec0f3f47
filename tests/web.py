"""A web server for tests, which can misbehave in the ways that servers do."""

import contextlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class File:
    """What lies at an address, and how it is sent.

    headers: sent too. statuses: of the first answers, one each, in place of the file. cuts: after so
    many bytes of each of the first answers the connection ends. ranges: whether parts can be asked
    for. stall: after so many bytes nothing more comes, but the connection stays. pace: seconds that
    each piece of 64 KiB takes.
    """

    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    stall: int | None = None
    pace: float = 0.0


class Web:
    """A server and what it was asked: (path, headers) of each request."""

    def __init__(self):
        self.files: dict[str, File] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": self}))
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def put(self, path, content=b"", **how) -> str:
        """Offer a file. Returns its address."""
        self.files[path] = File(content, **how)
        return self.address + path

    @property
    def ranges(self) -> list[str | None]:
        """The part that each request asked for."""
        return [headers.get("range") for _, headers in self.asked]

    @contextlib.contextmanager
    def serving(self):
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield self
        finally:
            self.over.set()
            self._server.shutdown()
            self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    web: Web

    def do_GET(self):
        path = urlsplit(self.path).path  # of a proxy the whole address is asked for
        self.web.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        file = self.web.files.get(path)
        if file is None or file.statuses:
            self.send_response(file.statuses.pop(0) if file else 404)
            for name, value in file.headers.items() if file else ():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content, start = file.content, self._start(file)
        self.send_response(206 if start else 200)
        for name, value in file.headers.items():
            self.send_header(name, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + file.cuts.pop(0) if file.cuts else len(content)
        self._send(file, start, min(end, len(content)))

    def _start(self, file) -> int:
        asked = self.headers.get("Range")
        known = self.headers.get("If-Range") in (None, *file.headers.values())
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked and known and file.ranges else 0

    def _send(self, file, start, end):
        with contextlib.suppress(OSError):  # whoever asked may have left
            while start < end:
                stop = min(start + (1 << 16), end, max(file.stall or end, start))
                if stop == start:
                    self.web.over.wait()
                    return
                self.wfile.write(file.content[start:stop])
                self.wfile.flush()
                start = stop
                time.sleep(file.pace)
        self.close_connection = True

    def log_message(self, *_):
        pass
