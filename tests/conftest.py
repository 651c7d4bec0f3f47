"""What more than one file of tests needs: an export of a small net from its name, and quicker ones."""

import importlib
import json
import shutil
import signal
import threading
import time

import command
import phone
import pytest

from edgecls import fetch, process
from edgecls.verbs import pipeline


@pytest.fixture(scope="session", autouse=True)
def nothing_is_downloaded(tmp_path_factory):
    """No test asks a server that is not its own, nor finds what somebody has downloaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(fetch.OFFLINE, "1")
        patch.setenv(fetch.CACHE, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def commands_can_be_interrupted():
    """A job in the background ignores SIGINT, and so would all that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def cold_export(tmp_path_factory):
    """(folder, finished command) of `edgecls export lenet5 --int8 --fp16 --out FOLDER`. Only to be read."""
    folder = tmp_path_factory.mktemp("cold") / "new" / "folder"
    return folder, command.edgecls("export", "lenet5", "--int8", "--fp16", "--out", folder)


@pytest.fixture(scope="session")
def running_phones(tmp_path_factory):
    if not (phone.PEER / "complete").is_file():
        pytest.skip("no adbd to talk to; run scripts/peer_adb")
    try:
        running = phone.Phones(tmp_path_factory.mktemp("phones"))
    except (OSError, RuntimeError) as error:
        pytest.skip(f"no namespaces on this machine: {error}")
    running.add("one")
    running.add("two")
    yield running
    running.end()


@pytest.fixture
def phones(running_phones, monkeypatch):
    """Two phones, "one" and "two", which `adb` finds and nothing tells from real ones; see `phone.Phones`."""
    for name, value in running_phones.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    for name in ("one", "two"):
        running_phones.shell(name, "rm -rf /data/local/tmp/* /data/local/tmp/.[!.]*")
    return running_phones


@pytest.fixture
def exported(cold_export, tmp_path):
    """A copy of the folder of that export, to be changed."""
    return shutil.copytree(cold_export[0], tmp_path / "artifacts")


@pytest.fixture
def inline(monkeypatch):
    """The work of child processes is done in this one, piece by piece: TensorFlow is imported once."""
    alone = threading.Lock()

    def run(function, job, *, on_event, **_):
        module, _, name = function.partition(":")
        start = time.monotonic()
        with alone:
            work = getattr(importlib.import_module(module), name)
            result = work(**json.loads(json.dumps(job)), emit=on_event)
        return process.Outcome(json.loads(json.dumps(result)), 0, time.monotonic() - start, "")

    monkeypatch.setattr(process, "run", run)
    monkeypatch.setattr(pipeline._Pipeline, "_side_by_side", lambda self: False)
