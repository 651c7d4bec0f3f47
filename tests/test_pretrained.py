"""Published weights: which are taken, what is said where they cannot be had, and `edgecls weights`."""

import dataclasses
import hashlib
import json
import re
import shutil
import warnings

import goldens
import pytest
import web

import edgecls
from edgecls import builder, fetch, pretrained, registry, weights
from edgecls.artifact import WeightsInfo
from edgecls.cli import export as export_command
from edgecls.cli import weights as command
from edgecls.errors import DownloadFailed, UnknownName, UsageError, WorkFailed
from edgecls.exporters import source
from edgecls.fetch import download
from edgecls.spec import PREPROCESS, Preprocess, WeightSource

#: Of the weights that the tests publish, which is not the row's.
OWN = Preprocess(resize=36, crop=32, mean=(100.0,), std=(50.0,), color="gray")


@pytest.fixture(scope="module")
def tensors():
    """Of LeNet-5, by name."""
    model = builder.build("lenet5", weights="random", seed=7)
    return {variable.path: variable.numpy() for variable in model.variables}


@pytest.fixture(scope="module")
def file(tensors):
    from safetensors.numpy import save

    return save(tensors)


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server, and a cache of its own."""
    monkeypatch.setenv(fetch.OFFLINE, "")
    monkeypatch.setenv(fetch.CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_silent", {})
    with web.Web().serving() as serving:
        yield serving


@pytest.fixture
def row(server, file, monkeypatch):
    """LeNet-5 with published weights, and no other row."""
    published = WeightSource(
        tag="digits",
        url=server.put("/lenet5.safetensors", file),
        digest=f"sha256:{hashlib.sha256(file).hexdigest()[:8]}",
        preprocess=OWN,
        top1=99.0,
        top5=100.0,
        licence="cc-by-nc-4.0",
    )
    gone = dataclasses.replace(published, tag="gone", url=f"{server.address}/gone.safetensors")
    found = dataclasses.replace(registry.get("lenet5"), weights=(published, gone))
    monkeypatch.setattr(registry, "rows", lambda: (found,))
    return found


@pytest.fixture
def export(row, inline, tmp_path):
    """`edgecls.export` of LeNet-5 as .tflite: the float file's manifest, whether it was made, the notes."""

    def run(**options):
        notes, made = [], []
        edgecls.export(
            "lenet5",
            **{"formats": "tflite", "out": tmp_path / "out", "on_note": notes.append} | options,
            on_artifact=lambda exported, was_made: made.append((exported.manifest, was_made)),
        )
        return *made[0], notes

    return run


def untrained(reason):
    return WeightsInfo(source="random", trained=False, seed=0, reason=reason)


def test_auto_takes_published_weights_with_their_preprocessing(export, row, file, server, tmp_path):
    published = row.weights[0]
    manifest, made, notes = export()
    assert (made, notes) == (True, [])
    assert manifest.weights == WeightsInfo(
        source="published",
        trained=True,
        sha256=hashlib.sha256(file).hexdigest(),
        tag="digits",
        url=published.url,
        licence="cc-by-nc-4.0",
        top1=99.0,
        top5=100.0,
    )
    assert manifest.preprocess == OWN != row.preprocess
    assert manifest.notes == ("the licence of digits is cc-by-nc-4.0: not for commercial use",)
    assert len(server.asked) == 1
    for weights in ("auto", "imagenet", "imagenet:digits"):
        assert export(weights=weights)[:2] == (manifest, False)
    shutil.rmtree(tmp_path / "cache")
    for weights in ("auto", "imagenet"):
        assert export(weights=weights)[:2] == (manifest, False)
    # Float files are there: others are made of them.
    before = (tmp_path / "out" / "lenet5" / "lenet5-fp32.tflite").read_bytes()
    assert export(precisions=["fp32", "fp16"])[1] is False
    assert (tmp_path / "out" / "lenet5" / "lenet5-fp32.tflite").read_bytes() == before
    assert len(server.asked) == 1
    # Nothing untrained takes their place.
    server.files.clear()
    with pytest.raises(DownloadFailed, match="404 .*; '.*lenet5' keeps its trained files; --weights random"):
        export(force=True)
    assert (tmp_path / "out" / "lenet5" / "lenet5-fp32.tflite").read_bytes() == before
    assert export(weights="random")[0].weights == WeightsInfo(source="random", trained=False, seed=0)


def test_auto_goes_on_without_them_and_says_so_until_they_are_there(export, row, file, server, monkeypatch):
    monkeypatch.setenv(fetch.OFFLINE, "1")
    reason = f"{row.weights[0].url} is not in the cache, and EDGECLS_OFFLINE is set"
    manifest, made, notes = export()
    assert made and manifest.weights == untrained(reason) and manifest.preprocess == row.preprocess
    assert manifest.notes == (manifest.weights.note,) == tuple(notes)
    (note,) = notes
    assert note.startswith(f"untrained: random weights of seed 0, since {reason}; size and speed are real")
    monkeypatch.setenv(fetch.OFFLINE, "")
    assert export()[:2] == (manifest, False)
    assert server.asked == []
    pretrained.obtain(row, row.weights[0])
    manifest, made, notes = export()
    assert made and manifest.weights.tag == "digits" and notes == []


def test_those_that_must_be_had_and_cannot_fail_and_leave_nothing(export, row, server, tmp_path):
    with pytest.raises(DownloadFailed, match=r"^http.*/gone.safetensors cannot be fetched: HTTP 404"):
        export(weights="imagenet:gone")
    assert not (tmp_path / "out").exists()


def test_random_weights_that_were_asked_for_are_not_what_auto_wants(export, server):
    assert export(weights="random")[0].weights == WeightsInfo(source="random", trained=False, seed=0)
    assert server.asked == []
    assert export()[0].weights.trained


def test_the_command_says_it_once_and_marks_the_table(row, inline, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(fetch.OFFLINE, "1")
    export_command.export(["lenet5"], format="tflite", out=tmp_path / "out")
    out, err = capsys.readouterr()
    assert [line.split()[1] for line in out.splitlines()] == ["weights", "untrained"]
    (said,) = (line for line in err.splitlines() if "untrained" in line)
    assert said.startswith("note: untrained: random weights of seed 0, since ")
    assert "EDGECLS_OFFLINE is set; " in said


@pytest.mark.parametrize("origin, tag, shown", [("published", "digits", "digits"), ("a/b.h5", None, "b.h5")])
def test_the_table_of_the_command_names_trained_weights(origin, tag, shown):
    assert export_command._weights(WeightsInfo(source=origin, trained=True, tag=tag)) == shown


@pytest.mark.parametrize("name", ["auto", "imagenet", "imagenet:digits"])
def test_a_model_is_built_with_them(row, tensors, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = edgecls.build("lenet5", weights=name)
    for variable in model.variables:
        assert (variable.numpy() == tensors[variable.path]).all()


def test_a_model_that_is_built_without_them_is_warned_of(row, server):
    server.files.clear()
    with pytest.warns(UserWarning, match=r"^untrained: random .*, since http.* HTTP 404") as caught:
        edgecls.build("lenet5")
    assert caught[0].filename == __file__
    with pytest.raises(DownloadFailed):
        edgecls.build("lenet5", weights="imagenet")


MOBILENET, LENET = registry.get("mobilenet_v2.torchvision"), registry.get("lenet5")


def test_auto_is_the_default_of_the_row_or_random_with_the_reason():
    choose = pretrained.choose
    assert choose(MOBILENET, "auto", classes=1000) == pretrained.Choice(published=MOBILENET.weights[0])
    assert choose(LENET, "auto", classes=10).reason == "nobody publishes any that fit lenet5.paper"
    assert choose(MOBILENET, "auto", classes=5).reason == (
        "the published ones of mobilenet_v2.torchvision are of 1000 classes, not 5"
    )


def test_imagenet_is_required_and_may_have_a_tag():
    first, second = MOBILENET.weights
    for name, published in {"imagenet": first, f"imagenet:{second.tag}": second}.items():
        choice = pretrained.choose(MOBILENET, name, classes=1000)
        assert choice == pretrained.Choice(published=published, required=True)


def test_what_is_neither_is_random_or_a_file():
    assert pretrained.choose(MOBILENET, "random", classes=1000) == pretrained.Choice()
    for file in ("imagenet.h5", "auto.safetensors", "folder/auto", "auto:x"):
        assert pretrained.choose(MOBILENET, file, classes=1000) is None


@pytest.mark.parametrize(
    ("row", "name", "classes", "kind", "reason"),
    [
        (
            "shufflenet_v1_g3.megvii",
            "imagenet",
            1000,
            UsageError,
            "no imagenet weights: nobody publishes any that fit shufflenet_v1_g3.megvii; "
            "rows that have some are shufflenet_v1_g3.pytorchcv",
        ),
        (
            "coatnet_2.timm",
            "imagenet:x",
            1000,
            UsageError,
            "no imagenet:x weights: nobody publishes any that fit coatnet_2.timm; "
            "rows that have some are coatnet_0_rw.timm, coatnet_1_rw.timm",
        ),
        (
            "lenet5.paper",
            "imagenet",
            10,
            UsageError,
            "no imagenet weights: nobody publishes any that fit lenet5.paper; "
            "`edgecls weights list` shows the rows that have some",
        ),
        (
            "resnet50.keras",
            "imagenet",
            5,
            UsageError,
            "no imagenet weights: the published ones of resnet50.keras are of 1000 classes, not 5; "
            "`edgecls finetune` trains another head on them",
        ),
        (
            "resnet50.torchvision",
            "imagenet:IMAGENET1K_V3",
            1000,
            UnknownName,
            "unknown weights of resnet50.torchvision 'IMAGENET1K_V3'; valid are IMAGENET1K_V1, IMAGENET1K_V2",
        ),
    ],
)
def test_what_nobody_publishes_is_refused_with_what_there_is(row, name, classes, kind, reason):
    with pytest.raises(kind) as caught:
        pretrained.choose(registry.get(row), name, classes=classes)
    assert str(caught.value) == reason
    assert caught.value.exit_code == 2


def test_another_size_is_told_of():
    found = source.resolve("efficientnet_b2.torchvision")
    assert found.input_size == 260 and found.preprocess == found.spec.weights[0].preprocess.at(260)
    assert list(found.weights_notes()) == [
        "IMAGENET1K_V1 has its published accuracy at 288x288, with --input-size 288"
    ]
    assert list(source.resolve("efficientnet_b2.torchvision", input_size=288).weights_notes()) == []


def test_every_file_has_a_place_of_its_own_and_a_reader():
    places = [pretrained.path(row, one) for row in registry.rows() for one in row.weights]
    assert len(set(places)) == len(places) > 150
    for place in places:
        assert weights._reader(place) is not None, place


def test_older_names_of_densenet_are_those_of_today():
    row = registry.get("densenet121.torchvision")
    today = {key: key for key, *_ in goldens.load("densenet121")[0]["params"]}
    older = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): key for key in today}
    assert "features.denseblock1.denselayer1.norm.1.running_mean" in older and older != today
    for names in (older, today):
        assert weights._renamed(names, row.older_names) == today


def said(capsys) -> list[list[str]]:
    """The words of each line of standard output."""
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_weights_are_listed_fetched_and_verified(row, server, file, capsys):
    target = pretrained.path(row, row.weights[0])
    with pytest.raises(WorkFailed, match="^not there yet; `edgecls weights fetch lenet5` downloads http"):
        command.path("lenet5")
    assert said(capsys) == [[str(target)]]
    command.verify()
    assert "note: none of them is in " in capsys.readouterr().err
    command.fetch(["lenet5.paper:digits"])
    megabytes = f"{len(file) / 1e6:.2f}"
    assert said(capsys)[1] == ["lenet5.paper:digits", megabytes, "sha256,", "8", "digits", str(target)]
    command.fetch(["lenet5"])
    assert len(server.asked) == 1
    command.path("lenet5")
    command.list_(["lenet*"])
    command.verify()
    assert said(capsys)[-5:] == [
        ["weights", "top-1", "top-5", "licence", "digest", "cached", "MB"],
        ["lenet5.paper:digits", "99.0", "100.0", "cc-by-nc-4.0", "sha256,", "8", "digits", megabytes],
        ["lenet5.paper:gone", "99.0", "100.0", "cc-by-nc-4.0", "sha256,", "8", "digits", "-"],
        ["weights", "is", "digest", "file"],
        ["lenet5.paper:digits", "right", "sha256,", "8", "digits", str(target)],
    ]
    target.write_bytes(file[:-1] + b"?")
    with pytest.raises(WorkFailed) as caught:
        command.verify()
    again = "`edgecls weights fetch lenet5.paper:digits` downloads anew"
    assert str(caught.value) == f"1 of 1 are not what was published; {again}"
    assert said(capsys)[1][1] == "WRONG"
    command.fetch(["lenet5"])
    command.verify()
    assert said(capsys)[-1][1] == "right"


def test_weights_are_told_as_json(row, file, capsys):
    pretrained.obtain(row, row.weights[0])
    command.list_(as_json=True)
    digits, gone = json.loads(capsys.readouterr().out)
    assert (digits["name"], digits["tag"], digits["default"]) == ("lenet5.paper", "digits", True)
    assert (digits["top1"], digits["licence"]) == (99.0, "cc-by-nc-4.0")
    assert digits["preprocess"] == json.loads(json.dumps(OWN.to_json()))
    assert digits["cached"]["sha256"] == hashlib.sha256(file).hexdigest()
    assert digits["cached"]["bytes"] == len(file)
    assert (gone["tag"], gone["default"], gone["cached"]) == ("gone", False, None)
    command.verify(as_json=True)
    (verified,) = json.loads(capsys.readouterr().out)
    assert verified["right"] is True and verified["path"] == digits["path"]


def test_of_several_downloads_one_that_fails_does_not_keep_the_others(row, capsys):
    with pytest.raises(WorkFailed, match="^1 of 2 downloads failed$"):
        command.fetch(["lenet5:gone", "lenet5"])
    out, err = capsys.readouterr()
    assert "lenet5.paper:digits" in out and "gone.safetensors cannot be fetched: HTTP 404" in err
    with pytest.raises(DownloadFailed, match="404"):
        command.fetch(["lenet5:gone"])


def test_digests_are_told_in_words(server, file):
    record = fetch.Record(url="u", bytes=1, sha256="abcdef0123456789", published=None)
    published = WeightSource(tag="t", url="u", preprocess=PREPROCESS["tf"])
    words = {
        None: "first download: abcdef01",
        f"sha256:{'0' * 64}": "sha256",
        "sha256:00000000": "sha256, 8 digits",
        f"md5:{'0' * 32}": "md5",
    }
    for digest, expected in words.items():
        assert command._digest(published, dataclasses.replace(record, published=digest)) == expected
    assert command._digest(published, None) == "-"
