"""Headless Chromium, driven through a pipe by the DevTools protocol. scripts/peer_browser sets it up."""

import base64
import contextlib
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import peers

from edgecls.apps import litertjs

#: LiteRT.js, as `edgecls app web --js-dir` takes it.
PACKAGES = peers.FOLDER / "browser" / "npm"
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--remote-debugging-pipe",
]


def missing() -> str | None:
    """Why no page can be tried here, if so."""
    there = shutil.which("chromium") and all((PACKAGES / one.tarball).is_file() for one in litertjs.PACKAGES)
    return None if there else "run scripts/peer_browser"


class Page:
    """A page that is open. wrong: what it wrote to the console as an error, and what it threw."""

    def __init__(self, to_browser, from_browser):
        self._to, self._from = to_browser, from_browser
        self._numbers = itertools.count(1)
        self._session = None
        self.wrong: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Page", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """The answer to a command of the protocol."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while True:
            answer = json.loads(self._read())
            self._note(answer)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _read(self) -> bytes:
        content = bytearray()
        while (byte := self._from.read(1)) != b"\0":
            assert byte, "the browser has gone"
            content += byte
        return bytes(content)

    def _note(self, message):
        about = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.wrong.append(about["exceptionDetails"].get("exception", {}).get("description", "?"))
            case "Log.entryAdded" if about["entry"]["level"] == "error":
                self.wrong.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")
            case "Runtime.consoleAPICalled" if about["type"] == "error":
                self.wrong.append(" ".join(str(one.get("value", "?")) for one in about["args"]))

    def run(self, code):
        """The value of `code`, the body of an async function."""
        call = f"(async () => {{ {code} }})()"
        answer = self.call("Runtime.evaluate", expression=call, awaitPromise=True, returnByValue=True)
        details = answer.get("exceptionDetails")
        assert not details, details["exception"].get("description", details)
        return answer["result"].get("value")

    def open(self, address):
        self.call("Page.navigate", url=address)

    def text(self, selector) -> str:
        return self.run(f"return document.querySelector({json.dumps(selector)})?.textContent ?? ''")

    def wait_for(self, text, selector="#status", seconds=20) -> None:
        end = time.monotonic() + seconds
        while text not in (shown := self.text(selector)):
            assert time.monotonic() < end, f"{selector} shows {shown!r}, not {text!r}; errors: {self.wrong}"
            time.sleep(0.02)

    def choose(self, path, selector="#file") -> None:
        """Put a file into an input of files, as a person does."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def look(self, *, width, height, dark=False, scale=1) -> bytes:
        """A screenshot, PNG, on a screen of that size."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        time.sleep(0.4)  # transitions
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


@contextlib.contextmanager
def page(profile: Path, *flags):
    """A page of a browser of its own. profile: a new folder."""
    theirs_in, to_browser = os.pipe()
    from_browser, theirs_out = os.pipe()
    apart = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]

    def as_the_protocol_has_it():
        os.dup2(apart[0], 3)
        os.dup2(apart[1], 4)

    browser = subprocess.Popen(
        ["chromium", *FLAGS, f"--user-data-dir={profile}", *flags],
        preexec_fn=as_the_protocol_has_it,
        pass_fds=(3, 4),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in (theirs_in, theirs_out, *apart):
        os.close(end)
    try:
        with os.fdopen(to_browser, "wb") as writer, os.fdopen(from_browser, "rb") as reader:
            yield Page(writer, reader)
    finally:
        browser.terminate()
        browser.wait(10)
