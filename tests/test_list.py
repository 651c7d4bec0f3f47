"""What `edgecls list` shows of the zoo, and how wrong names are answered."""

import json

import pytest

import edgecls.cli
from edgecls import registry
from edgecls.errors import UnknownName


def run(capsys, monkeypatch, *words):
    """(exit code, stdout, stderr) of the command."""
    monkeypatch.setattr("sys.argv", ["edgecls", "list", *words])
    with pytest.raises(SystemExit) as exit:
        edgecls.cli.main()
    return exit.value.code, *capsys.readouterr()


def test_each_row_is_a_line_that_fits_a_wide_terminal(capsys, monkeypatch):
    code, out, err = run(capsys, monkeypatch)
    header, *lines = out.splitlines()
    assert (code, err) == (0, "")
    assert header.split() == "name family year paper params MACs input top-1 top-5 weights".split()
    assert [line.split()[0] for line in lines] == [row.key for row in registry.rows()]
    assert max(map(len, lines)) <= 145


def test_a_line_names_the_weights_that_its_accuracy_belongs_to(capsys, monkeypatch):
    names = ("resnet50.torchvision", "efficientnet_lite3", "lenet5", "mobilenet_v1_050")
    _, out, _ = run(capsys, monkeypatch, *names)
    assert [" ".join(line.split()) for line in out.splitlines()[1:]] == [
        "efficientnet_lite3.timm efficientnet_lite 2020 Liu 2020 8.20 M 1.38 G 280 79.8 94.9 in1k @300",
        "lenet5.paper lenet5 1998 LeCun 1998 61.7 K 416.5 K 32 - - none known",
        "mobilenet_v1_050.keras mobilenet_v1 2017 arXiv:1704.04861 1.33 M 149.5 M 224 - - imagenet",
        "mobilenet_v1_050.timm mobilenet_v1 2017 arXiv:1704.04861 1.33 M 149.5 M 224 - - none known",
        "resnet50.torchvision resnet 2015 arXiv:1512.03385 25.6 M 4.09 G 224 76.1 92.9 IMAGENET1K_V1",
    ]


def test_json_has_everything(capsys, monkeypatch):
    code, out, _ = run(capsys, monkeypatch, "resnet50.torchvision", "--json")
    (record,) = json.loads(out)
    row = registry.get("resnet50.torchvision")
    assert code == 0
    assert (record["paper"], record["macs"], record["tier"]) == (row.family.paper, row.macs, "heavy")
    assert [(weights["tag"], weights["url"], weights["top1"]) for weights in record["weights"]] == [
        (weights.tag, weights.url, weights.top1) for weights in row.weights
    ]
    assert record["weights"][1]["preprocess"]["resize"] == 232


def test_families_are_one_line_each_the_oldest_first(capsys, monkeypatch):
    code, out, _ = run(capsys, monkeypatch, "--families")
    lines = out.splitlines()[1:]
    assert code == 0 and len(lines) == len({row.family.name for row in registry.rows()})
    assert lines[0].startswith("lenet5") and lines[0].endswith(registry.get("lenet5").family.idea)
    years = [family.year for family in registry.families()]
    assert years == sorted(years)


def test_families_of_a_selection(capsys, monkeypatch):
    _, out, _ = run(capsys, monkeypatch, "resnet50*", "--families", "--json")
    assert [record["name"] for record in json.loads(out)] == ["resnet", "resnet_v2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-macs", "many"], "--max-macs is a number such as 300M or 4.1G, got 'many'"),
        (["--family", "resent"], "unknown family 'resent'; did you mean resnet"),
        (["mobilenet_v3"], "unknown architecture 'mobilenet_v3'; those that begin so are mobilenet_v3_la"),
        (["nothing*"], "no architecture matches 'nothing*'"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(capsys, monkeypatch, words, message):
    code, out, err = run(capsys, monkeypatch, *words)
    assert (code, out) == (2, "") and err.startswith(f"edgecls: {message}") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet50.foo", "unknown source of resnet50 'foo'; valid are keras, torchvision"),
        ("resnet50.", "unknown source of resnet50 ''; valid are keras, torchvision"),
        ("vit", "unknown architecture 'vit'; did you mean vit_tiny_patch16?"),
        ("mobilnet_v2", "unknown architecture 'mobilnet_v2'; did you mean mobilenet_v2 or "),
        ("resnet", "unknown architecture 'resnet'; those that begin so are resnet1001_v2_cifar, resnet101, "),
    ],
)
def test_a_wrong_name_is_answered_with_the_names_that_it_may_have_meant(name, message):
    with pytest.raises(UnknownName) as error:
        registry.get(name)
    assert str(error.value).startswith(message)
