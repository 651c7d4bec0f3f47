"""Bad input to `edgecls finetune`: one line that says what to do, nothing written; how pictures are chosen."""

import command
import numpy as np
import pytest
from shapes import pictures

import edgecls
from edgecls.errors import BadFile, UnknownName, UsageError
from edgecls.finetuning import selection


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with data sets in it, most of them of no use."""
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "good", counts=(3, 4, 5))
    pictures(tmp_path / "lonely", counts=(1, 4, 5))
    for folder in ("empty", "flat", "one/red", "split/train", "split/val"):
        (tmp_path / folder).mkdir(parents=True)
    for target in ("flat", "one/red"):
        (tmp_path / target / "a.png").write_bytes((tmp_path / "good/red/000.png").read_bytes())
    pictures(tmp_path / "other/train", counts=(3, 3, 3))
    (tmp_path / "other/val/violet").mkdir(parents=True)
    (tmp_path / "other/val/violet/a.png").write_bytes(b"")
    (tmp_path / "there.keras").write_bytes(b"not to be touched")
    (tmp_path / "text.txt").write_text("text")
    return tmp_path


#: (options, what the line says); `data` is "good" unless given.
BAD = [
    ({"name": "mobilnet_v2"}, UnknownName, "unknown architecture 'mobilnet_v2'; did you mean mobilenet_v2"),
    ({"name": "there.keras"}, UnknownName, "unknown architecture 'there.keras'"),
    ({"data": "gone"}, BadFile, "no folder or list 'gone'"),
    ({"data": "empty"}, UsageError, "no picture in 'empty'; it should hold files of .bmp"),
    ({"data": "flat"}, UsageError, "no class folders in 'flat'; it should hold one folder of pictures for each class"),
    ({"data": "one"}, UsageError, "'one' has one class, 'red'; a classifier needs two"),
    ({"data": "lonely"}, UsageError, "class 'blue' has one picture; it needs two, to train and to validate on"),
    ({"data": "split"}, UsageError, "no picture in 'split/train'; it should hold files of .bmp"),
    ({"data": "other"}, UsageError, "'other/val' has classes that are not known: violet; known are blue, green, red"),
    ({"out": "there.keras"}, UsageError, "'there.keras' is there; choose another with --out, or replace it with --force"),
    ({"out": "mine.h5"}, UsageError, "--out must end in .keras, got 'mine.h5'"),
    ({"out": "text.txt/mine.keras"}, UsageError, "cannot write to 'text.txt': Not a directory; choose another with --out"),
    ({"weights": "gone.h5"}, BadFile, "no weights file 'gone.h5'; give one of .safetensors"),
    ({"weights": "imagenet"}, UsageError, "no imagenet weights: nobody publishes any that fit lenet5.paper"),
    ({"input_size": 7}, UsageError, "--input-size of lenet5.paper must be at least"),
    ({"augment": "heavy"}, UnknownName, "unknown augmentation 'heavy'; valid are auto, light, none, standard"),
    ({"validation": 1.0}, UsageError, "--validation must be a share between 0 and 1, got 1.0"),
    ({"epochs": -1}, UsageError, "--epochs must be at least 0, got -1"),
    ({"head_epochs": 0, "epochs": 0}, UsageError, "--head-epochs and --epochs are both 0, so that nothing would be trained"),
    ({"batch_size": 0}, UsageError, "--batch-size must be at least 1, got 0"),
    ({"learning_rate": 0.0}, UsageError, "--learning-rate must be between 0 and 1, got 0.0"),
    ({"seed": -1}, UsageError, "--seed must be at least 0, got -1"),
]


@pytest.mark.parametrize(("options", "error", "said"), BAD, ids=[said for *_, said in BAD])
def test_bad_input_ends_before_any_work(workplace, options, error, said):
    before = command.files(workplace)
    with pytest.raises(error) as caught:
        edgecls.finetune(**{"name": "lenet5", "data": "good", "out": "mine.keras"} | options)
    assert type(caught.value) is error and said in str(caught.value)
    assert command.files(workplace) == before


def test_the_command_says_it_in_one_line(workplace):
    done = command.edgecls("finetune", "lenet5", "--data", "one", cwd=workplace)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "edgecls: 'one' has one class, 'red'; a classifier needs two\n"
    done = command.edgecls("finetune", "lenet5", cwd=workplace)
    assert done.returncode == 2 and "Missing option '--data'" in done.stderr


def chosen(folder, *, validation=0.2, seed=0):
    return selection.select(folder, validation=validation, seed=seed, on_note=lambda note: None)


def held_of(found) -> list[int]:
    """Pictures of each class to validate on."""
    return np.bincount([found.labels[number] for number in found.validation], minlength=len(found.classes)).tolist()


def test_each_class_gives_its_share_and_at_least_one(tmp_path):
    folder = pictures(tmp_path / "paints", counts=(2, 10, 23))
    assert held_of(chosen(folder)) == [1, 2, 5]
    assert held_of(chosen(folder, validation=0.99)) == [1, 9, 22]
    assert held_of(chosen(folder, validation=0.01)) == [1, 1, 1]


def test_the_seed_decides_which(tmp_path):
    folder = pictures(tmp_path / "paints")
    assert chosen(folder) == chosen(folder)
    assert chosen(folder).validation != chosen(folder, seed=1).validation
    assert chosen(folder).digest() == chosen(folder).digest() != chosen(folder, seed=1).digest()


def test_the_digest_is_of_what_is_in_the_pictures(tmp_path):
    one, other = pictures(tmp_path / "one"), pictures(tmp_path / "other")
    assert chosen(one).digest() == chosen(other).digest()
    (other / "red" / "000.png").write_bytes((one / "red" / "001.png").read_bytes())
    assert chosen(one).digest() != chosen(other).digest()


@pytest.mark.parametrize("name", ["val", "validation", "valid"])
def test_a_folder_of_its_own_is_validated_on(tmp_path, name):
    pictures(tmp_path / "train", counts=(3, 4, 5))
    pictures(tmp_path / name, counts=(1, 2, 0), seed=1)
    for other in ("test", "results"):
        pictures(tmp_path / other, counts=(7, 7, 7), seed=2)
    found = chosen(tmp_path)
    assert found.validation == (12, 13, 14) and held_of(found) == [1, 2, 0]
    assert all(f"/{name}/" in found.paths[number] for number in found.validation)


def test_train_alone_is_split_and_test_is_left_alone(tmp_path):
    pictures(tmp_path / "train", counts=(5, 5, 5))
    pictures(tmp_path / "test")
    found = chosen(tmp_path)
    assert len(found.paths) == 15 and held_of(found) == [1, 1, 1]


def test_a_class_may_be_called_train(tmp_path):
    pictures(tmp_path)
    (tmp_path / "red").rename(tmp_path / "train")
    assert chosen(tmp_path).classes == ("blue", "green", "train")


def test_of_imagenets_classes_those_that_are_there(tmp_path):
    pictures(tmp_path)
    for name, wnid in (("blue", "n02084071"), ("green", "n01440764"), ("red", "n01443537")):
        (tmp_path / name).rename(tmp_path / wnid)
    (tmp_path / "n02084071").rename(tmp_path / "n02099601")
    assert chosen(tmp_path).classes == ("n01440764", "n01443537", "n02099601")


def test_what_is_no_picture_is_named(tmp_path):
    pictures(tmp_path)
    for number in range(7):
        (tmp_path / "red" / f"notes{number}.txt").write_text("none")
    notes = []
    selection.select(tmp_path, validation=0.2, seed=0, on_note=notes.append)
    assert notes == [f"left out of {tmp_path}: " + ", ".join(f"red/notes{n}.txt is no picture" for n in range(5)) + " and 2 more"]
