"""Folders, lists and ImageNet's layout, and what is wrong with those that cannot be read."""

from pathlib import Path

import pytest

from edgecls import dataset
from edgecls.errors import BadFile, UsageError

WNIDS = dataset.imagenet_wnids()


def tree(root: Path, *names: str) -> Path:
    """Files of these names below `root`; none is opened, so that none need be a picture."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def listed(root: Path, text: str, name="list.txt") -> Path:
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def relative(found: dataset.Dataset, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found.paths]


def test_class_folders_are_classes_in_sorted_order(tmp_path):
    found = dataset.read(tree(tmp_path, "rose/b.jpg", "rose/deep/a.PNG", "daisy/c.webp", ".git/d.jpg"))
    assert relative(found, tmp_path) == ["daisy/c.webp", "rose/b.jpg", "rose/deep/a.PNG"]
    assert (found.classes, found.labels, found.skipped) == (("daisy", "rose"), (0, 1, 1), ())


def test_what_is_no_picture_is_named(tmp_path):
    tree(tmp_path, "rose/b.jpg", "rose/notes.txt", "loose.jpg")
    (tmp_path / "tulip").mkdir()
    found = dataset.read(tmp_path)
    assert relative(found, tmp_path) == ["rose/b.jpg"]
    assert found.skipped == (
        "rose/notes.txt is no picture",
        "loose.jpg is in no class's folder",
        "tulip/ has no picture",
    )


def test_classes_given_decide_the_indices(tmp_path):
    tree(tmp_path, "rose/b.jpg", "daisy/c.jpg")
    assert dataset.read(tmp_path, classes=("rose", "oak", "daisy")).labels == (2, 0)
    with pytest.raises(UsageError, match=r"classes that are not known: daisy, rose; known are ash, oak$"):
        dataset.read(tmp_path, classes=("ash", "oak"))


def test_many_unknown_classes_are_counted(tmp_path):
    tree(tmp_path, *(f"c{number}/x.jpg" for number in range(9)))
    with pytest.raises(UsageError, match="c0, c1, c2, c3, c4 and 4 more; known are oak"):
        dataset.read(tmp_path, classes=["oak"])


def test_folders_of_numbers_are_sorted_as_numbers(tmp_path):
    tree(tmp_path, "10/x.jpg", "9/x.jpg")
    found = dataset.read(tmp_path)
    assert (found.classes, found.labels) == (("9", "10"), (1, 0))
    assert dataset.read(tmp_path, classes=list("abcdefghijk")).labels == (10, 9)
    with pytest.raises(UsageError, match="has class 10; there are 3, numbered from 0"):
        dataset.read(tmp_path, classes=list("abc"))


def test_imagenet_classes_are_in_the_order_of_outputs(tmp_path):
    assert len(WNIDS) == len(set(WNIDS)) == 1000 and sorted(WNIDS) == list(WNIDS)
    # tench, goldfish, tabby, toilet tissue: https://image-net.org/challenges/LSVRC/2012
    assert [WNIDS.index(wnid) for wnid in ("n01440764", "n01443537", "n02123045", "n15075141")] == [
        0,
        1,
        281,
        999,
    ]
    found = dataset.read(tree(tmp_path, "n02123045/x.JPEG", "n01443537/y.JPEG"))
    assert found.classes == WNIDS
    assert found.labels == (1, 281)


def test_one_folder_that_is_no_wnid_makes_them_all_plain_names(tmp_path):
    found = dataset.read(tree(tmp_path, "n02123045/x.JPEG", "others/y.JPEG"))
    assert found.classes == ("n02123045", "others")


def test_a_part_is_chosen_by_its_name(tmp_path):
    tree(tmp_path, "train/a/x.jpg", "val/a/y.jpg")
    assert relative(dataset.read(tmp_path, split="val"), tmp_path) == ["val/a/y.jpg"]
    with pytest.raises(UsageError, match=r"has the parts train, val; say which"):
        dataset.read(tmp_path)
    with pytest.raises(UsageError, match=r"no folder 'test' in .*; it has train, val$"):
        dataset.read(tmp_path, split="test")


def test_pictures_alone_have_no_labels(tmp_path):
    found = dataset.read(tree(tmp_path, "b.jpg", "a.jpg"))
    assert relative(found, tmp_path) == ["a.jpg", "b.jpg"]
    assert found.labels is found.classes is None


@pytest.mark.parametrize(
    "text",
    [
        "sub/a.jpg,rose\nb c.jpg,daisy\n",
        "sub/a.jpg\trose\n\nb c.jpg\tdaisy",
        "sub/a.jpg rose\nb c.jpg daisy\n",
    ],
)
def test_lists_by_comma_tab_and_space(tmp_path, text):
    tree(tmp_path, "sub/a.jpg", "b c.jpg")
    found = dataset.read(listed(tmp_path, text))
    assert relative(found, tmp_path) == ["sub/a.jpg", "b c.jpg"]
    assert (found.classes, found.labels) == (("daisy", "rose"), (1, 0))


def test_a_list_of_numbers_has_indices_and_no_names(tmp_path):
    path = listed(tree(tmp_path, "a.jpg", "b.jpg"), "a.jpg 7\nb.jpg 0\n")
    found = dataset.read(path)
    assert (found.classes, found.labels) == (None, (7, 0))
    with pytest.raises(UsageError, match="has class 7; there are 2, numbered from 0"):
        dataset.read(path, classes=("x", "y"))


def test_a_list_of_wnids_is_imagenet(tmp_path):
    found = dataset.read(listed(tree(tmp_path, "a.jpg"), "a.jpg n02123045\n"))
    assert (found.classes, found.labels) == (WNIDS, (281,))


def test_a_list_may_have_no_classes_but_not_for_some(tmp_path):
    tree(tmp_path, "a b.jpg", "c.jpg")
    assert dataset.read(listed(tmp_path, "a b.jpg\nc.jpg\n")).labels is None
    with pytest.raises(UsageError, match=r"list.txt has no class for 1 of 2 pictures, c.jpg the first"):
        dataset.read(listed(tmp_path, "a b.jpg rose\nc.jpg\n"))


def test_lines_of_a_list_that_lead_nowhere_are_named(tmp_path):
    tree(tmp_path, "a.jpg")
    found = dataset.read(listed(tmp_path, "path,label\na.jpg,rose\ngone.jpg,rose\n"))
    assert relative(found, tmp_path) == ["a.jpg"]
    assert found.skipped == (
        "line 1 of list.txt, 'path,label', names no picture",
        f"no file {str(tmp_path / 'gone.jpg')!r}",
    )
    with pytest.raises(UsageError, match="no picture in .*list.txt', only line 1 of list.txt, 'hello'"):
        dataset.read(listed(tmp_path, "hello\n"))


@pytest.mark.parametrize("text", ["n01443537\nn01440764\n", "a.JPEG n01443537\nb.JPEG n01440764\n"])
def test_a_flat_folder_and_its_labels(tmp_path, text):
    flat = tree(tmp_path / "val", "b.JPEG", "a.JPEG")
    found = dataset.read(flat, labels=listed(tmp_path, text))
    assert relative(found, flat) == ["a.JPEG", "b.JPEG"]
    assert (found.classes, found.labels) == (WNIDS, (1, 0))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("n01443537\n", "has 1 lines, its folder 2 pictures"),
        ("a.JPEG n01443537\n", "has no class for 1 of 2 pictures, b.JPEG the first"),
        ("1\n1000\n", "numbers classes from 1 to 1000, as ImageNet's development kit does"),
        ("", "is empty"),
    ],
)
def test_labels_that_do_not_match_are_refused(tmp_path, text, reason):
    flat = tree(tmp_path / "val", "b.JPEG", "a.JPEG")
    with pytest.raises(UsageError, match=reason):
        dataset.read(flat, labels=listed(tmp_path, text))


def test_labels_go_with_one_folder_of_pictures(tmp_path):
    labels = listed(tree(tmp_path, "data/a/x.jpg", "y.jpg"), "0\n")
    with pytest.raises(UsageError, match="has the folder 'a'"):
        dataset.read(tmp_path / "data", labels=labels)
    with pytest.raises(UsageError, match="is a list, which has its own classes"):
        dataset.read(listed(tmp_path, "y.jpg 0\n"), labels=labels)


def test_nothing_there(tmp_path):
    with pytest.raises(UsageError, match="no picture in "):
        dataset.read(tmp_path)
    with pytest.raises(BadFile, match="no folder or list "):
        dataset.read(tmp_path / "gone")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(BadFile, match="cannot be read as a list"):
        dataset.read(tmp_path / "binary")
