"""Downloads from a server that misbehaves: nothing wrong is used, nothing that came is lost."""

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from types import SimpleNamespace

import pytest
import web

from edgecls import fetch
from edgecls.errors import DownloadFailed
from edgecls.fetch import download

CONTENT = os.urandom(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ETAG = {"ETag": '"v1"'}


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Nothing of the environment, and short pauses."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", fetch.OFFLINE):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(download, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(download, "_READ_SECONDS", 0.3)
    monkeypatch.setattr(download, "_silent", {})


@pytest.fixture
def server():
    with web.Web().serving() as serving:
        yield serving


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "row" / "tag.h5"


def failure(url, target, **options) -> str:
    """Of a download that must fail: what it says. No file is there then."""
    with pytest.raises(DownloadFailed) as caught:
        fetch.fetch(url, target, **options)
    assert not target.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def partial(target):
    return target.with_name(f"{target.name}.partial")


def files(target) -> set[str]:
    return {path.name for path in target.parent.iterdir()}


def fetch_in_a_process(url, target, **options) -> subprocess.Popen:
    """One that prints its notes."""
    code = "import sys; from pathlib import Path; from edgecls import fetch\n"
    code += "fetch.fetch(sys.argv[1], Path(sys.argv[2]), on_note=print)"
    command = [sys.executable, "-c", code, url, target]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def wait_for(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    "digest",
    [
        f"sha256:{SHA256}",
        f"sha256:{SHA256[:8]}",
        f"sha1:{hashlib.sha1(CONTENT).hexdigest()}",
        f"md5:{hashlib.md5(CONTENT).hexdigest()}",
    ],
)
def test_a_file_of_the_right_digest_is_kept(server, target, digest):
    url, seen = server.put("/file", CONTENT), []
    found = fetch.fetch(url, target, digest=digest, on_bytes=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert found == fetch.Record(url=url, bytes=len(CONTENT), sha256=SHA256, published=digest)
    assert files(target) == {"tag.h5", "tag.h5.json", "tag.h5.lock"}
    assert seen == sorted(seen) and seen[-1] == (len(CONTENT), len(CONTENT))


def test_what_is_there_is_not_asked_for(server, target, monkeypatch):
    url = server.put("/file", CONTENT)
    first = fetch.fetch(url, target)
    monkeypatch.setenv(fetch.OFFLINE, "1")
    assert fetch.fetch(url, target) == fetch.record(target, url, None) == first
    assert len(server.asked) == 1


@pytest.mark.parametrize("algorithm, digits", [("sha256", 64), ("sha256", 8), ("sha1", 40), ("md5", 32)])
def test_a_file_of_another_digest_is_not_used(server, target, algorithm, digits):
    url, digest = server.put("/file", CONTENT), f"{algorithm}:{'0' * digits}"
    assert failure(url, target, digest=digest) == (
        f"{url} is not the file that was published: its digest is not {digest}"
    )
    assert files(target) == {"tag.h5.lock"}


def test_what_was_kept_and_then_changed_is_fetched_again(server, target):
    url = server.put("/file", CONTENT)
    fetch.fetch(url, target)
    for damage in (CONTENT[:-1], CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])):
        target.write_bytes(damage)
        assert fetch.check(target, url, None) is None
        fetch.fetch(url, target)
        assert target.read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_another_address_or_digest_is_another_file(server, target):
    fetch.fetch(server.put("/old", b"old"), target)
    url = server.put("/new", CONTENT)
    assert fetch.record(target, url, None) is None
    fetch.fetch(url, target)
    assert target.read_bytes() == CONTENT
    failing = f"sha256:{'0' * 8}"
    assert fetch.record(target, url, failing) is None
    with pytest.raises(DownloadFailed):
        fetch.fetch(url, target, digest=failing)


def test_a_file_put_there_by_other_hands_is_held_against_its_digest(server, target, monkeypatch):
    monkeypatch.setenv(fetch.OFFLINE, "1")
    url, digest = server.put("/file", CONTENT), f"sha256:{SHA256[:8]}"
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    assert fetch.record(target, url, digest) is None
    assert fetch.fetch(url, target, digest=digest).sha256 == SHA256
    assert fetch.record(target, url, digest).published == digest
    target.with_name("tag.h5.json").unlink()
    target.write_bytes(b"something else")
    with pytest.raises(DownloadFailed, match="is not in the cache"):
        fetch.fetch(url, target, digest=digest)
    assert server.asked == []


def test_without_a_digest_the_first_download_is_what_the_next_are_held_against(server, target):
    url, notes = server.put("/file", CONTENT), []
    fetch.fetch(url, target, on_note=notes.append)
    assert notes == [f"nobody publishes a digest of {url}; from now on it is held against sha256 {SHA256}"]
    target.unlink()
    server.put("/file", b"another file")
    assert failure(url, target) == (
        f"{url} is not the file that it was when it was first downloaded; "
        f"delete {str(target.with_name('tag.h5.json'))!r} if that is right"
    )
    server.put("/file", CONTENT)
    assert fetch.fetch(url, target).sha256 == SHA256


@pytest.mark.parametrize("told", [SHA256, "0" * 64])
def test_the_sha256_that_the_server_tells_where_it_redirects_is_checked(server, target, told):
    server.put("/elsewhere", CONTENT, headers={"ETag": '"of another kind"'})
    headers = {"Location": "/elsewhere", "X-Linked-Etag": f'"{told}"'}
    url = server.put("/file", headers=headers, statuses=[302, 302])
    if told == SHA256:
        assert fetch.fetch(url, target).published == f"sha256:{SHA256}"
    else:
        assert "is not the file that was published" in failure(url, target)


def test_redirects_are_followed_and_come_to_an_end(server, target):
    url = server.put("/file", headers={"Location": "/there"}, statuses=[301])
    server.put("/there", CONTENT, headers={"Location": "/there"}, statuses=[307, 302])
    fetch.fetch(url, target)
    assert [path for path, _ in server.asked] == ["/file", "/there", "/there", "/there"]
    url = server.put("/circle", headers={"Location": "/circle"}, statuses=[302] * 100)
    assert failure(url, target.with_name("other")) == f"{url} cannot be fetched: Exceeded 10 redirects."


def test_a_way_that_leaves_encryption_is_not_gone():
    answer = {"status_code": 200, "reason": "OK", "headers": {}}
    asked = SimpleNamespace(url="https://host/file")
    response = SimpleNamespace(url="http://host/file", history=[asked], **answer)
    with pytest.raises(DownloadFailed, match="it leads to http://host/file, which is not encrypted"):
        download._check(response, "https://host/file")


@pytest.mark.parametrize(("status", "words"), [(404, "Not Found"), (403, "Forbidden"), (410, "Gone")])
def test_a_file_that_is_not_there_is_said_at_once(server, target, status, words):
    url = server.put("/file", CONTENT, statuses=[status] * 9)
    assert failure(url, target) == f"{url} cannot be fetched: HTTP {status} {words}"
    assert len(server.asked) == 1
    assert files(target) == {"tag.h5.lock"}


def test_a_server_in_trouble_is_asked_again_but_not_for_ever(server, target):
    url = server.put("/file", CONTENT, statuses=[503, 429, 500])
    fetch.fetch(url, target)
    assert len(server.asked) == 4
    server.put("/file", CONTENT, statuses=[503] * 9)
    other = target.with_name("other")
    assert failure(url, other) == f"{url} cannot be fetched: HTTP 503 Service Unavailable"
    assert len(server.asked) == 8


def test_a_web_page_is_not_taken_for_the_file(server, target):
    url = server.put("/file", b"<html>Log in", headers={"Content-Type": "text/html; charset=utf-8"})
    assert "a web page came in its place" in failure(url, target)


@pytest.mark.parametrize("validator", [ETAG, {"Last-Modified": "Tue, 01 Jan 2030 00:00:00 GMT"}])
def test_a_download_that_breaks_off_goes_on_where_it_was(server, target, validator):
    url = server.put("/file", CONTENT, headers=validator, cuts=[300_000, 200_000])
    fetch.fetch(url, target, digest=f"sha256:{SHA256}")
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in server.ranges[1:]]
    assert server.ranges[0] is None and 0 < starts[0] <= 300_000 and starts[0] < starts[1] <= 500_000
    assert {headers["if-range"] for _, headers in server.asked[1:]} == set(validator.values())


@pytest.mark.parametrize(
    "how", [{"ranges": False, "headers": ETAG}, {"headers": {}}, {"headers": {"ETag": 'W/"weak"'}}]
)
def test_where_the_server_cannot_go_on_it_begins_anew(server, target, how):
    url = server.put("/file", CONTENT, cuts=[300_000], **how)
    fetch.fetch(url, target, digest=f"sha256:{SHA256}")
    assert target.read_bytes() == CONTENT
    assert (server.ranges[1] is None) == (how["headers"] is not ETAG)


def test_a_download_that_breaks_off_each_time_is_given_up_and_kept(server, target):
    url = server.put("/file", CONTENT, headers=ETAG, cuts=[100_000] * 4)
    assert failure(url, target).startswith(f"{url} cannot be fetched: ")
    assert len(server.asked) == 4
    assert partial(target).stat().st_size > 200_000
    fetch.fetch(url, target, digest=f"sha256:{SHA256}")
    assert len(server.asked) == 5 and server.ranges[4] != "bytes=0-"


def test_a_part_of_a_file_that_has_changed_since_is_not_gone_on_with(server, target):
    url = server.put("/file", os.urandom(1_000_000), headers=ETAG, cuts=[100_000] * 4)
    failure(url, target)
    server.put("/file", CONTENT, headers={"ETag": '"v2"'})
    fetch.fetch(url, target, digest=f"sha256:{SHA256}")
    assert server.ranges[-1] is not None and target.read_bytes() == CONTENT


def test_a_wrong_part_is_thrown_away_and_all_fetched_anew(server, target):
    url = server.put("/file", CONTENT, headers=ETAG, cuts=[100_000] * 4)
    failure(url, target)
    partial(target).write_bytes(b"?" * 400_000)
    fetch.fetch(url, target, digest=f"sha256:{SHA256}")
    assert server.ranges[-2:] == ["bytes=400000-", None]


def test_a_part_larger_than_the_file_is_thrown_away(server, target):
    url = server.put("/file", CONTENT, headers=ETAG, cuts=[100_000] * 4)
    failure(url, target)
    partial(target).write_bytes(b"?" * 1_000_000 + b"!")
    server.put("/file", CONTENT, headers=ETAG, statuses=[416])
    fetch.fetch(url, target, digest=f"sha256:{SHA256}")
    assert target.read_bytes() == CONTENT


def test_a_server_that_stalls_is_left(server, target, monkeypatch):
    monkeypatch.setattr(download, "_TRIES", 2)
    url = server.put("/file", CONTENT, headers=ETAG, stall=200_000)
    assert failure(url, target) == f"{url} cannot be fetched: nothing came for 0.3 s"
    assert len(server.asked) == 2
    assert server.ranges[1] is not None
    # Nobody waits for it twice in a row.
    assert failure(url, target) == f"{url} cannot be fetched: nothing came for 0.3 s"
    assert len(server.asked) == 2


def test_a_slow_server_is_waited_for(server, target):
    url = server.put("/file", CONTENT, pace=0.05)
    fetch.fetch(url, target, digest=f"sha256:{SHA256}")
    assert len(server.asked) == 1


def test_a_process_that_is_killed_half_way_is_gone_on_from(server, target):
    url = server.put("/file", CONTENT, headers=ETAG, stall=500_000)
    child = fetch_in_a_process(url, target)
    wait_for(lambda: partial(target).exists() and partial(target).stat().st_size >= 400_000)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not target.exists()
    kept = partial(target).stat().st_size
    server.put("/file", CONTENT, headers=ETAG)
    fetch.fetch(url, target, digest=f"sha256:{SHA256}")
    assert server.ranges == [None, f"bytes={kept}-"]


def test_a_process_that_is_killed_before_the_last_step_has_nothing_to_fetch(server, target):
    url = server.put("/file", CONTENT, headers=ETAG)
    target.parent.mkdir(parents=True)
    assert download.download(url, partial(target), lambda done, total: None) is None
    fetch.fetch(url, target, digest=f"sha256:{SHA256}")
    assert len(server.asked) == 1 and target.read_bytes() == CONTENT


def test_of_two_processes_one_fetches_and_the_other_waits(server, target):
    url = server.put("/file", CONTENT, pace=0.06)
    children = [fetch_in_a_process(url, target) for _ in range(2)]
    said = sorted(child.communicate(timeout=20) for child in children)
    assert [child.returncode for child in children] == [0, 0], said
    assert len(server.asked) == 1
    assert [out.split()[0] for out, _ in said] == ["nobody", "waiting"]
    assert target.read_bytes() == CONTENT


def test_a_proxy_is_used(server, target, monkeypatch):
    monkeypatch.setenv("http_proxy", server.address.replace("http://", "http://user:secret@"))
    server.put("/file", CONTENT)
    fetch.fetch("http://published.invalid/file", target, digest=f"sha256:{SHA256}")
    (path, headers), = server.asked
    assert path == "http://published.invalid/file" and headers["proxy-authorization"].startswith("Basic ")


def test_a_proxy_that_is_not_there_is_named_without_its_password(target, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:1")
    assert failure("http://published.invalid/file", target).endswith(
        "/file cannot be fetched: no connection to the proxy 127.0.0.1: Connection refused"
    )


def test_a_proxy_can_be_left_aside(server, target, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fetch.fetch(server.put("/file", CONTENT), target)


def test_a_server_that_cannot_be_reached_is_asked_once(target, monkeypatch):
    asked = []

    def silent(*arguments, **_):
        asked.append(arguments)
        time.sleep(1)
        raise OSError("nobody listens any more")

    monkeypatch.setattr(download, "_CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(download.socket, "create_connection", silent)
    start = time.monotonic()
    for name in ("one", "two", "three"):
        assert failure(f"http://published.invalid/{name}", target).endswith(
            "no connection to published.invalid: no answer within 0.2 s"
        )
    assert time.monotonic() - start < 1 and not target.parent.exists()
    assert asked == [(("published.invalid", 80),)]


def test_offline_nobody_is_asked(server, target, monkeypatch):
    url = server.put("/file", CONTENT)
    monkeypatch.setenv(fetch.OFFLINE, "1")
    assert failure(url, target) == f"{url} is not in the cache, and EDGECLS_OFFLINE is set"
    assert server.asked == [] and not target.parent.exists()
    monkeypatch.setenv(fetch.OFFLINE, "0")
    fetch.fetch(url, target)


def test_a_cache_that_cannot_be_written_is_said(server, tmp_path):
    (tmp_path / "taken").write_text("")
    target, url = tmp_path / "taken" / "row" / "tag.h5", server.put("/file", CONTENT)
    reason = "Not a directory; name another folder with EDGECLS_CACHE"
    assert failure(url, target) == f"cannot keep {url} in {str(target.parent)!r}: {reason}"
    assert server.asked == []


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(server, target, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=999_999))
    url = server.put("/file", CONTENT, headers=ETAG)
    assert "no space for 1.0 MB; name another folder with EDGECLS_CACHE" in failure(url, target)
    assert files(target) == {"tag.h5.lock"}


def test_a_disk_that_is_full_is_said_and_nothing_left_on_it(server, target):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    url = server.put("/file", CONTENT, headers=ETAG)
    child = fetch_in_a_process(url, target, preexec_fn=limit)
    _, errors = child.communicate(timeout=20)
    assert child.returncode == 1
    assert errors.splitlines()[-1] == (
        f"edgecls.errors.DownloadFailed: cannot keep {url} in {str(target.parent)!r}: File too large; "
        "name another folder with EDGECLS_CACHE"
    )
    assert files(target) == {"tag.h5.lock"}


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "archive"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("inside.pth", CONTENT)
    return path.read_bytes()


def test_the_digest_of_a_zip_is_of_what_is_in_it(server, target, archive):
    url, zipped = server.put("/file.zip", archive), target.with_suffix(".pth.zip")
    found = fetch.fetch(url, zipped, digest=f"sha1:{hashlib.sha1(CONTENT).hexdigest()}")
    assert found.sha256 == hashlib.sha256(archive).hexdigest()
    with fetch.open_zipped(zipped) as inside:
        assert inside.read() == CONTENT


@pytest.mark.parametrize(
    "damage", [lambda zip: zip[:-100], lambda zip: b"no zip", lambda zip: zip[:5000] + zip[5100:]]
)
def test_a_damaged_zip_is_not_used(server, target, archive, damage):
    url, zipped = server.put("/file.zip", damage(archive)), target.with_suffix(".pth.zip")
    assert "is not the file that was published" in failure(url, zipped, digest=f"sha256:{SHA256}")


def test_the_cache_is_where_the_platform_or_the_user_wants_it(monkeypatch, tmp_path):
    monkeypatch.setenv(fetch.CACHE, str(tmp_path))
    assert fetch.cache_folder() == tmp_path
    monkeypatch.setenv(fetch.CACHE, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert fetch.cache_folder().name == "edgecls"
    if sys.platform == "linux":
        assert fetch.cache_folder() == tmp_path / "xdg" / "edgecls"
