"""`edgecls app`: what is refused, what is written, and that nothing is left half-way. Without a browser."""

import base64
import dataclasses
import hashlib
import io
import json
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import command
import graph_files
import numpy as np
import pytest
import web

from edgecls import apps, fetch, metadata
from edgecls.apps import litertjs
from edgecls.errors import BadFile, DownloadFailed, UsageError
from edgecls.fetch import download
from edgecls.verbs import app
from edgecls.verbs.app import describe

TEMPLATES = Path(apps.__file__).parent / "templates"


def classifier(path: Path, *, taken="float32", given="float32", last=(), **options) -> Path:
    """The mean of each colour. last: kinds of ops behind it."""
    names = ["mean", *(f"after_{kind}" for kind in last)]
    names[-1] = "y"
    ops = [("MEAN", "x axes", names[0]), *zip(last, names, names[1:], strict=False)]
    tensors = {"x": ((1, 8, 8, 3), taken), "axes": np.array([1, 2], np.int32)}
    tensors |= {writes: ((1, 3), given) for _, _, writes in ops}
    return graph_files.write(path, ops, tensors, **options)


@pytest.fixture
def model(tmp_path):
    return classifier(tmp_path / "colours.tflite")


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """The folder of packages that stand for LiteRT.js: a few bytes a file."""
    folder = tmp_path / "packages"
    folder.mkdir()
    made = {}
    for package, files in litertjs.PACKAGES.items():
        with tarfile.open(folder / package.tarball, "w:gz") as archive:
            for member in (*files, "../outside", "dist/other.js"):
                info = tarfile.TarInfo(f"package/{member}")
                info.size = len(member)
                archive.addfile(info, io.BytesIO(member.encode()))
        digest = hashlib.sha512((folder / package.tarball).read_bytes()).digest()
        made[dataclasses.replace(package, integrity=f"sha512-{base64.b64encode(digest).decode()}")] = files
    monkeypatch.setattr(litertjs, "PACKAGES", made)
    return folder


@pytest.fixture
def make(model, packages, tmp_path):
    """A function that makes the page of `model` in the folder `page`."""
    out = tmp_path / "page"

    def make(**options):
        app.web(model, out, **{"preprocess": "tf", "labels": None, "js_dir": packages, **options})
        return out

    return make


def said(model, **options) -> tuple[apps.About, list[str]]:
    notes = []
    about = describe(model, options.get("labels"), options.get("preprocess", "tf"), notes.append)
    return about, notes


def refusal(model, **options) -> str:
    with pytest.raises((UsageError, BadFile)) as caught:
        said(model, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_page_is_written_whole(make, model):
    out = make()
    assert (out / "model.tflite").read_bytes() == model.read_bytes()
    for text in TEMPLATES.joinpath("web").iterdir():
        assert (out / text.name).read_bytes() == text.read_bytes()
    record = json.loads((out / "model.json").read_text())
    assert record["name"] == "colours"
    assert record["input"] == {"shape": [1, 8, 8, 3], "dtype": "float32", "scale": None, "zero_point": None}
    assert record["preprocess"]["mean"] == [127.5] * 3
    assert record["labels"] == ["0", "1", "2"]
    assert (out / "litert" / "core.js").read_text() == "dist/index.js"
    written = {path.name for path in (out / "litert").rglob("*") if path.is_file()}
    assert "outside" not in written and "other.js" not in written
    assert sorted(path.name for path in out.parent.iterdir()) == ["colours.tflite", "packages", "page"]


def test_the_digest_in_the_policy_is_that_of_the_import_map():
    page = (TEMPLATES / "web" / "index.html").read_text()
    script = page.partition('<script type="importmap">')[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page


def test_labels_come_from_the_option_then_from_the_metadata(model, tmp_path):
    metadata.write(model, metadata.Metadata(labels=("a", "b", "c"), mean=(0.0,), std=(255.0,)))
    assert said(model)[0].labels == ("a", "b", "c")
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    about, notes = said(model, labels=tmp_path / "names.txt")
    assert about.labels == ("red", "green", "blue")
    assert notes == []


def test_classes_without_names_are_numbers_which_is_said(model):
    about, (note,) = said(model)
    assert about.labels == ("0", "1", "2")
    assert "--labels" in note


def test_preprocessing_comes_from_the_metadata_where_nothing_else_says_it(model):
    metadata.write(model, metadata.Metadata(labels=("a", "b", "c"), mean=(127.5,), std=(127.5,)))
    about, (note,) = said(model, preprocess=None)
    assert (about.preprocess.resize, about.preprocess.crop) == (8, 8)
    assert about.preprocess.mean == (127.5,) * 3
    assert about.preprocess.color == "rgb"
    assert "how pictures are cut" in note


@pytest.mark.parametrize(
    ("last", "shares"),
    [
        *(((), False), (("RELU",), False)),
        *((("SOFTMAX",), True), (("SOFTMAX", "RESHAPE"), True), (("LOGISTIC",), True)),
    ],
)
def test_shares_are_told_from_logits(tmp_path, last, shares):
    assert said(classifier(tmp_path / "a.tflite", last=last))[0].probabilities is shares


def test_an_untrained_file_says_so_on_the_terminal_and_the_page(cold_export):
    (path,) = cold_export[0].rglob("lenet5-int8.tflite")
    about, notes = said(path, preprocess=None)
    assert about.notes[0].startswith("untrained: ") and about.notes[0] in notes
    assert about.name == "lenet5.paper" and about.precision == "int8"
    assert about.input.dtype == "uint8" and about.input.scale and about.output.scale


def test_what_no_app_can_be_made_of_is_refused_with_the_way_out(model, tmp_path):
    folder = tmp_path / "folder.tflite"
    folder.mkdir()
    assert "is a folder" in refusal(folder)
    assert "no file" in refusal(tmp_path / "none.tflite")
    assert "no .tflite or .onnx file" in refusal(tmp_path / "model.pb")
    assert "'" + str(model) + "' is beside it" in refusal(model.with_suffix(".onnx"))
    assert "`edgecls export --format tflite`" in refusal(tmp_path / "other.onnx")
    assert "--preprocess" in refusal(model, preprocess=None)
    assert "names 1000 classes, the model has 3" in refusal(model, labels="imagenet")
    for end in ({"taken": "int8"}, {"given": "int8"}, {"taken": "int16"}):
        assert "--io uint8" in refusal(classifier(tmp_path / "a.tflite", **end))
    assert "batch" in refusal(classifier(tmp_path / "a.tflite", open_batch=True))
    (tmp_path / "a.tflite").write_bytes(b"no model")
    assert "a.tflite" in refusal(tmp_path / "a.tflite")


def test_an_app_as_it_was_written_is_replaced(make):
    (out,) = {make(), make()}
    (out / "__pycache__").mkdir()
    (out / "__pycache__" / "serve.pyc").write_bytes(b"left by Python")
    make()
    assert not (out / "__pycache__").exists()


@pytest.mark.parametrize("name", ["app.js", "mine.txt"])
def test_files_of_the_user_are_replaced_by_force_alone(make, name):
    (make() / name).write_text("mine")
    with pytest.raises(UsageError, match=f"{name}.*--force"):
        make()
    out = make(force=True)
    assert not (out / "mine.txt").exists() and (out / "app.js").read_text() != "mine"


@pytest.mark.parametrize("mark", ["[]", '{"files": 3}', '{"files": {"mine.txt": 1}}', "no JSON"])
def test_a_folder_of_another_is_left_alone(make, tmp_path, mark):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "mine.txt").write_text("mine")
    (tmp_path / "page" / apps.folder.MARK).write_text(mark)
    with pytest.raises(UsageError, match="mine.txt"):
        make()


def test_an_empty_folder_is_taken(make, tmp_path):
    (tmp_path / "page").mkdir()
    assert (make() / "index.html").is_file()


def test_what_holds_the_model_or_the_user_is_never_replaced(model, packages, tmp_path, monkeypatch):
    def refused(out):
        with pytest.raises(UsageError) as caught:
            app.web(model, out, preprocess="tf", js_dir=packages, force=True)
        return str(caught.value)

    assert "holds the model" in refused(tmp_path)
    (tmp_path / "here" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "deep")
    assert "holds the folder you are in" in refused(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    (tmp_path / "home" / "me").mkdir(parents=True)
    assert "holds your home folder" in refused(tmp_path / "home")
    assert "is a file" in refused(model)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_was_there_stays_where_the_work_is_cut_off(make, monkeypatch, error):
    out = make()
    before = command.files(out)

    def cut_off(*_):
        raise error

    monkeypatch.setattr(litertjs, "unpack", cut_off)
    with pytest.raises(type(error)):
        make()
    assert command.files(out) == before
    assert sorted(path.name for path in out.parent.iterdir()) == ["colours.tflite", "packages", "page"]


def test_packages_must_be_there_and_be_what_was_published(make, packages, tmp_path):
    with pytest.raises(UsageError, match="npm pack @litertjs/core@"):
        make(js_dir=tmp_path / "none")
    (core, utils) = (packages / package.tarball for package in litertjs.PACKAGES)
    core.write_bytes(core.read_bytes()[:-1] + b"x")
    with pytest.raises(BadFile, match="is not what was published as @litertjs/core"):
        make()
    core.unlink()
    with pytest.raises(BadFile, match="no litertjs-core-"):
        make()
    assert not (tmp_path / "page").exists()


@pytest.fixture
def registry(packages, tmp_path, monkeypatch):
    """A server that has the packages, as npm's registry has them."""
    monkeypatch.setenv(fetch.CACHE, str(tmp_path / "cache"))
    monkeypatch.delenv(fetch.OFFLINE, raising=False)
    monkeypatch.delenv("npm_config_registry", raising=False)
    monkeypatch.setattr(download, "_silent", {})
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with web.Web().serving() as server:
        for package in litertjs.PACKAGES:
            path = package.url.removeprefix("https://registry.npmjs.org")
            server.put(f"/npm{path}", (packages / package.tarball).read_bytes())
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"{server.address}/npm/")
        yield server


def test_packages_are_downloaded_once_from_the_registry_that_npm_is_told(make, registry):
    first = make(js_dir=None)
    assert [path for path, _ in registry.asked] == [
        f"/npm/@litertjs/core/-/core-{litertjs.VERSION}.tgz",
        f"/npm/@litertjs/wasm-utils/-/wasm-utils-{litertjs.VERSION}.tgz",
    ]
    make(js_dir=None)
    assert len(registry.asked) == 2
    assert (first / "litert" / "wasm-utils.js").is_file()


def test_another_package_than_was_published_is_not_taken(make, registry, tmp_path):
    for file in registry.files.values():
        file.content += b"more"
    with pytest.raises(DownloadFailed, match="not the file that was published.*--js-dir"):
        make(js_dir=None)
    assert not (tmp_path / "page").exists()


def test_without_a_network_the_way_out_is_said(make, monkeypatch):
    monkeypatch.setenv(fetch.OFFLINE, "1")
    with pytest.raises(DownloadFailed, match="npm pack @litertjs/core@.*--js-dir"):
        make(js_dir=None)


def test_what_is_pinned_can_be_held_against_npm(monkeypatch):
    monkeypatch.setenv("npm_config_registry", "https://registry.example/")
    core, utils = litertjs.PACKAGES
    assert core.url == "https://registry.example/@litertjs/core/-/core-2.5.3.tgz"
    assert (core.tarball, utils.tarball) == ("litertjs-core-2.5.3.tgz", "litertjs-wasm-utils-2.5.3.tgz")
    for package in litertjs.PACKAGES:
        assert package.digest.startswith("sha512:") and len(package.digest) == len("sha512:") + 128


def test_the_command_says_what_it_made_and_what_comes_next(model, tmp_path):
    answer = command.edgecls("app", "web", "--model", model, "--out", tmp_path / "page", "--preprocess", "tf")
    assert answer.returncode == 1  # nothing is downloaded in tests
    assert "--js-dir" in answer.stderr and not (tmp_path / "page").exists()
    answer = command.edgecls("app", "web", "--model", model.parent, "--out", tmp_path.parent / "page")
    assert answer.returncode == 2 and "is a folder" in answer.stderr
    assert answer.stderr.count("\n") == 1
    how = ("--out", tmp_path / "project", "--preprocess", "tf")
    answer = command.edgecls("app", "android", "--model", model, *how)
    assert answer.returncode == 0
    assert f"next: open {tmp_path / 'project'} in Android Studio" in answer.stdout


@pytest.mark.parametrize("port", ["x", "99999999", "taken"])
def test_the_server_says_what_is_wrong_with_a_port(port):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = str(taken.getsockname()[1]) if port == "taken" else port
        command_line = [sys.executable, TEMPLATES / "web" / "serve.py", wanted]
        answer = subprocess.run(command_line, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 1
    assert answer.stderr.startswith("serve.py: ") and answer.stderr.endswith("python3 serve.py 9000\n")
