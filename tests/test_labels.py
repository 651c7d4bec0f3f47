"""Names of classes: those that ship, and those in a file."""

import pytest

from edgecls import dataset, labels, registry
from edgecls.errors import BadFile, UsageError


def test_labels_of_imagenet_stand_in_the_order_of_its_wnids():
    named = dict(zip(dataset.imagenet_wnids(), labels.imagenet(), strict=True))
    some = {"n01440764": "tench", "n02123045": "tabby", "n02510455": "giant panda", "n07873807": "pizza"}
    assert some.items() <= named.items()
    assert (named["n02012849"], named["n03126707"], named["n15075141"]) == ("crane", "crane", "toilet tissue")
    assert len(set(labels.imagenet())) == 998
    assert all(label == label.strip() != "" for label in labels.imagenet())


def test_published_weights_have_the_labels_of_what_they_were_trained_on():
    having = [row for row in registry.rows() if row.weights]
    assert {row.classes for row in having} == {10, 1000}
    for row in having:
        assert labels.published(row) == (labels.cifar10() if "_cifar" in row.name else labels.imagenet())


@pytest.mark.parametrize("content", [b"cat\ndog\n", b"cat\r\ndog", b"\xef\xbb\xbfcat \n dog\n\n\n"])
def test_a_file_has_one_label_a_line(tmp_path, content):
    (tmp_path / "labels.txt").write_bytes(content)
    assert labels.read(tmp_path / "labels.txt") == ("cat", "dog")


def test_labels_are_utf8(tmp_path):
    (tmp_path / "labels.txt").write_bytes("Bär\n犬, chien\n".encode())
    assert labels.read(str(tmp_path / "labels.txt")) == ("Bär", "犬, chien")


def test_some_labels_go_by_a_name():
    assert labels.read("imagenet") == labels.imagenet()
    assert labels.read("cifar10")[3] == "cat"


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        (b"cat\n\ndog\n", UsageError, "labels.txt has no label in line 2; name all classes, one a line"),
        (
            b"a\n\n\n\n \nb",
            UsageError,
            "labels.txt has no label in line 2, 3, 4 and 1 more; name all classes",
        ),
        (b"", UsageError, "labels.txt has no label in line 1; name"),
        (b"cat\nB\xe4r\n", BadFile, "labels.txt is not UTF-8 in line 2; save it as UTF-8"),
        (b"x" * 10_000_001, BadFile, "labels.txt is no file of labels: it has 10,000,001 bytes"),
    ],
)
def test_a_file_that_is_none_of_labels_is_told_why(tmp_path, content, kind, reason):
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(kind) as caught:
        labels.read(tmp_path / "labels.txt")
    assert str(caught.value).startswith(reason)


def test_labels_that_are_nowhere_are_told_so():
    with pytest.raises(
        BadFile, match=r"^no labels 'imagenett'; give a file with one a line, or imagenet or cifar10$"
    ):
        labels.read("imagenett")


def test_as_many_labels_as_classes():
    labels.check(None, 2)
    labels.check(("cat", "dog"), 2)
    labels.check(("crane", "crane"), 2)
    with pytest.raises(UsageError, match=r"^--labels names 2 classes, the model has 3$"):
        labels.check(("cat", "dog"), 3)


def test_too_many_labels_are_told_which_are_there_twice():
    with pytest.raises(UsageError) as caught:
        labels.check(("cat", "dog", "cat", "dog"), 2)
    assert (
        str(caught.value)
        == "--labels names 4 classes, the model has 2; line 3 is 'cat' as line 1, 4 is 'dog' as line 2"
    )
    with pytest.raises(UsageError, match="^--labels names 1000 classes, the model has 10$"):
        labels.check(labels.imagenet(), 10)
