"""`edgecls finetune`: what it trains, what it writes, how it goes on after an interruption."""

import dataclasses
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from shapes import COLOURS, SMALL, pictures

import edgecls
from edgecls import builder, dataset, images, keras_file, registry
from edgecls.errors import BadFile, UsageError
from edgecls.exporters import source
from edgecls.finetuning import record
from edgecls.verbs import finetune as verb

keras = pytest.importorskip("keras")

from edgecls.finetuning import pictures as cached  # noqa: E402  these import Keras
from edgecls.finetuning import stages  # noqa: E402

FEW = {"epochs": 3, "batch_size": 8, "augment": "none"}


@pytest.fixture(autouse=True)
def small(monkeypatch, inline):
    """The row `small.paper` is in the zoo; children are this process."""
    rows = registry.rows()
    monkeypatch.setattr(registry, "rows", lambda: (*rows, SMALL))


class Heard:
    """What a call says on its way."""

    def __init__(self):
        self.notes, self.epochs, self.stages = [], [], []

    def __call__(self, **options):
        return options | {
            "on_note": self.notes.append,
            "on_epoch": lambda epoch, best: self.epochs.append((epoch, best)),
            "on_stage": lambda stage: self.stages.append(stage.what),
        }


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def data(tmp_path):
    return pictures(tmp_path / "paints")


@pytest.fixture
def weights(tmp_path):
    """A trained network of the row, with four classes of its own."""
    path = tmp_path / "four.keras"
    builder.build(SMALL, weights="random", seed=3).save(path)
    return path


def loaded(path):
    model, notes = keras_file.load(path)
    assert notes == []
    return model


def accuracy(model, folder, chosen=lambda number: True):
    """Share of the pictures in `folder` that the model names rightly, decoded and normalised anew."""
    found = dataset.read(folder)
    numbers = [number for number in range(len(found.paths)) if chosen(number)]
    preprocess = SMALL.preprocess.at(model.input_shape[1])
    inputs = np.stack([images.load(found.paths[number], preprocess) for number in numbers])
    best = np.argmax(model(inputs, training=False), axis=1)
    return np.mean(best == np.array(found.labels)[numbers])


def test_from_class_folders_to_a_model_that_knows_them(data, tmp_path, heard):
    out = tmp_path / "new" / "mine.keras"
    done = edgecls.finetune("small", data=data, out=out, seed=2, input_size=24, **heard(**FEW | {"epochs": 12}))
    training = done.training
    assert (done.path, training) == (out, record.read(out))
    assert (training.model, training.labels) == ("small.paper", tuple(COLOURS))
    assert (training.pictures, training.validation, training.finished) == (24, 6, True)
    assert training.preprocess == SMALL.preprocess.at(24)
    assert (training.weights.trained, training.options["head_epochs"]) == (False, 0)
    assert training.accuracy == max(epoch.val_accuracy for epoch, _ in heard.epochs) >= 0.8
    assert list(tmp_path.glob("new/*")) == [out]

    model = loaded(out)
    assert model.output_shape == (None, 3)
    held = verb.selection.select(data, validation=0.2, seed=2, on_note=heard.notes.append).validation
    assert accuracy(model, data, lambda number: number in held) == pytest.approx(training.accuracy)
    assert all(layer.trainable for layer in model.layers)
    assert any("untrained" in note for note in heard.notes)

    exported = source.resolve(out)
    assert (exported.name, exported.labels, exported.tier) == ("mine", tuple(COLOURS), "light")
    assert (exported.preprocess, exported.notes) == (training.preprocess, ())
    assert exported.reference == f"small.paper trained on {data}"
    assert source.resolve(out, preprocess="torch").preprocess != training.preprocess
    again = source.resolve("small", weights=out)
    assert (again.labels, again.preprocess) == (training.labels, training.preprocess.at(32))

    (made,) = edgecls.export(out, formats="tflite", calibration=data, out=tmp_path / "files")
    manifest = made.manifest
    assert (manifest.labels, manifest.preprocess) == (training.labels, training.preprocess)
    assert manifest.model.params == SMALL.params - 4 * 17 + 3 * 17 and manifest.agreement.passed


def test_the_head_alone_learns_on_features_that_are_computed_once(data, tmp_path, weights, heard, monkeypatch):
    monkeypatch.setattr(stages, "HEAD_LEARNING_RATE", 0.05)  # features of random weights tell little
    calls = heard(weights=weights, head_epochs=30, epochs=0, batch_size=8, out=tmp_path / "mine.keras")
    done = edgecls.finetune("small", data=data, **calls)
    assert done.training.accuracy >= 0.8
    assert done.training.weights.source == str(weights)
    assert {epoch.stage for epoch, _ in heard.epochs} == {"head"}
    assert heard.stages.count("features") == 4 + 2 * 3  # of all 30 pictures, and of 24 two augmented variants
    before, after = keras.saving.load_model(weights), loaded(done.path)
    for layer in before.layers[:-1]:
        for old, new in zip(layer.get_weights(), after.get_layer(layer.name).get_weights(), strict=True):
            assert np.array_equal(old, new)
    assert before.layers[-1].kernel.shape == (16, 4) and after.layers[-1].kernel.shape == (16, 3)


def test_the_whole_network_goes_on_from_the_best_head_and_keeps_its_statistics(data, tmp_path, weights, heard):
    calls = heard(weights=weights, head_epochs=6, epochs=3, batch_size=8, out=tmp_path / "mine.keras", learning_rate=0.01)
    done = edgecls.finetune("small", data=data, **calls)
    assert [epoch.stage for epoch, _ in heard.epochs] == ["head"] * 6 + ["whole"] * 3
    assert [best for _, best in heard.epochs] == [
        all(epoch.rank > other.rank for other, _ in heard.epochs[:place]) for place, (epoch, _) in enumerate(heard.epochs)
    ]
    before, after = keras.saving.load_model(weights), loaded(done.path)
    old, new = before.get_layer("stem_bn"), after.get_layer("stem_bn")
    assert np.array_equal(old.moving_mean, new.moving_mean)
    whole_is_best = max((epoch for epoch, _ in heard.epochs), key=lambda epoch: epoch.rank).stage == "whole"
    assert np.array_equal(before.get_layer("stem_conv").kernel, after.get_layer("stem_conv").kernel) != whole_is_best


def interrupted_after(epochs, heard):
    def on_epoch(epoch, best):
        heard.epochs.append((epoch, best))
        if len(heard.epochs) == epochs:
            raise KeyboardInterrupt

    return heard(out=None) | {"on_epoch": on_epoch}


def test_ctrl_c_keeps_the_best_and_the_same_call_goes_on(data, tmp_path, heard, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        edgecls.finetune("small", data="paints", **FEW, **interrupted_after(2, heard))
    best = max((epoch for epoch, _ in heard.epochs), key=lambda epoch: epoch.rank)
    kept = record.read(tmp_path / "paints.keras")
    assert (kept.finished, kept.accuracy) == (False, best.val_accuracy)
    assert f"the best so far is kept in paints.keras: {best.val_accuracy:.1%} of 6" in heard.notes[-1]
    assert "interrupted" in source.resolve("paints.keras").notes[0]
    with h5py.File("paints.keras.training/whole/latest.weights.h5") as file:  # with what Adam knows
        assert int(file["optimizer/vars/0"][()]) == 3  # steps of one epoch; the other was not backed up yet

    again = Heard()
    done = edgecls.finetune("small", data="paints", **FEW, **again(out="paints.keras"))
    assert [epoch.number for epoch, _ in again.epochs] == [3]
    assert "going on where it was stopped: 2 epochs are done" in again.notes
    every = [epoch for epoch, _ in heard.epochs + again.epochs]
    assert done.training.finished and done.training.accuracy == max(epoch.val_accuracy for epoch in every)
    assert not (tmp_path / "paints.keras.training").exists()
    assert source.resolve("paints.keras").notes == ()


def test_interrupted_before_there_is_a_model(data, tmp_path, heard):
    def stop(stage):
        if stage.what == "build":
            raise KeyboardInterrupt

    out = tmp_path / "mine.keras"
    with pytest.raises(KeyboardInterrupt):
        edgecls.finetune("small", data=data, out=out, **FEW | heard() | {"on_stage": stop})
    assert "no epoch was done" in heard.notes[-1] and not out.exists()
    again = Heard()
    with pytest.raises(KeyboardInterrupt):
        edgecls.finetune("small", data=data, out=out, **FEW | {"epochs": 1} | again() | {"on_stage": stop})
    assert "beginning anew: --epochs changed since mine.keras.training was begun" in again.notes


def test_other_pictures_or_options_begin_anew_but_replace_nothing(data, tmp_path, heard):
    out = tmp_path / "mine.keras"
    with pytest.raises(KeyboardInterrupt):
        edgecls.finetune("small", data=data, **FEW, **interrupted_after(1, heard) | {"out": out})
    (data / "red" / "000.png").unlink()
    before = out.read_bytes()
    with pytest.raises(UsageError, match="pictures, --seed changed since mine.keras.training was begun, and .* is there"):
        edgecls.finetune("small", data=data, out=out, seed=5, **FEW)
    assert out.read_bytes() == before
    done = edgecls.finetune("small", data=data, out=out, seed=5, force=True, **heard(**FEW))
    assert (done.training.seed, done.training.pictures) == (5, 23)
    with pytest.raises(UsageError, match="'.*mine.keras' is there; choose another with --out, or replace it with --force"):
        edgecls.finetune("small", data=data, out=out, **FEW)


def test_a_class_that_is_left_without_pictures_ends_it(tmp_path):
    data, out = pictures(tmp_path / "paints", counts=(2, 4, 4)), tmp_path / "mine.keras"
    for path in (data / "blue").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(UsageError, match="none of the pictures to train 'blue' with can be read"):
        edgecls.finetune("small", data=data, out=out, **FEW)
    assert not out.exists() and not (tmp_path / "mine.keras.training").exists()


def test_a_folder_of_the_users_own_is_not_taken_for_a_state(data, tmp_path):
    (tmp_path / "mine.keras.training").mkdir()
    (tmp_path / "mine.keras.training" / "diary.txt").write_text("dear")
    for force in (False, True):
        with pytest.raises(UsageError, match="mine.keras.training' is there and holds no training; move it away"):
            edgecls.finetune("small", data=data, out=tmp_path / "mine.keras", force=force, **FEW)
    assert (tmp_path / "mine.keras.training" / "diary.txt").read_text() == "dear"


def test_why_weights_are_random_does_not_count(plan):
    other = dataclasses.replace(plan, weights=dataclasses.replace(plan.weights, reason="the server sleeps"))
    assert other.options == plan.options
    assert dataclasses.replace(plan, seed=1).options != plan.options


def test_a_disk_with_too_little_room_is_seen_before_work(data, tmp_path, monkeypatch):
    usage = verb.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(verb.shutil, "disk_usage", lambda path: usage._replace(free=100_000))
    with pytest.raises(edgecls.errors.WorkFailed, match=r"0.0 GB are needed beside '.*mine.keras', 0.0 GB are free"):
        edgecls.finetune("small", data=data, out=tmp_path / "mine.keras", **FEW)
    assert list(tmp_path.iterdir()) == [data]


def test_a_licence_goes_with_what_was_trained_on_the_weights(plan, tmp_path):
    path = tmp_path / "mine.keras"
    keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]).save(path)
    assert record.read(path) is None and source.resolve(path, preprocess="tf").labels is None
    weights = dataclasses.replace(plan.weights, licence="cc-by-nc-4.0", trained=True)
    known = {field.name: getattr(plan, field.name, 0) for field in dataclasses.fields(record.Training)}
    training = record.Training(**known | {"weights": weights, "labels": plan.classes, "options": {}, "schema": 1})
    training = dataclasses.replace(training, validation=6, accuracy=0.5, finished=True)
    record.attach(training, path)
    assert record.read(path) == training
    assert loaded(path).output_shape == (None, 3)
    assert list(source.resolve(path).weights_notes()) == [
        "the licence of the first weights is cc-by-nc-4.0: not for commercial use"
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"schema": 2}, "schema 2 is not 1; use the edgecls that wrote it"), ({"also": 1}, "no field 'accuracy'")],
)
def test_a_record_that_is_not_understood_is_refused(tmp_path, change, reason):
    path = tmp_path / "mine.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(record.MEMBER, json.dumps({"schema": 1} | change))
    with pytest.raises(BadFile, match=f"mine.keras holds no record of its training that can be read: {reason}"):
        record.read(path)


@pytest.fixture
def plan(data, heard):
    chosen = verb.selection.select(data, validation=0.2, seed=0, on_note=heard.notes.append)
    weights = source.resolve("lenet5").weights
    return record.Plan(
        model="small.paper",
        weights=weights,
        weights_file=None,
        preprocess=SMALL.preprocess,
        **vars(chosen),
        digest="",
        augment="none",
        head_epochs=1,
        epochs=1,
        batch_size=8,
        learning_rate=1e-3,
        seed=0,
    )


@pytest.fixture
def feed(plan, tmp_path):
    """The cached pictures of `plan`, with some of it changed; and what is said."""
    said = []

    def feed(**changes):
        changed = dataclasses.replace(plan, **changes)
        folder = tmp_path / f"state{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return cached.Pictures(changed, folder, lambda event: said.append(event.get("note")))

    feed.said = said
    return feed


def test_pictures_that_cannot_be_read_are_named_and_left_out(feed, plan):
    Path(plan.paths[plan.validation[0]]).write_bytes(b"no picture")
    Path(plan.paths[5]).unlink()
    fed = feed()
    assert len(fed.validation) == 5 and len(fed.training) == 23 and 5 not in fed.training
    left_out = [note for note in feed.said if note]
    assert len(left_out) == 2 and all(note.endswith("; left out") for note in left_out)
    assert "cannot be read as a picture" in left_out[0] and f"no picture '{plan.paths[5]}'" in left_out[1]
    again = cached.Pictures(fed.plan, fed.state, lambda event: feed.said.append(event["note"]))
    assert feed.said[-2:] == left_out and np.array_equal(again.training, fed.training)


def test_batches_are_what_export_and_evaluation_see(feed, plan):
    fed = feed()
    inputs, targets = (np.concatenate(parts) for parts in zip(*fed.batches(fed.validation).as_numpy_iterator()))
    wanted = [images.load(plan.paths[number], plan.preprocess) for number in plan.validation]
    assert np.array_equal(inputs, wanted)
    assert targets.argmax(axis=1).tolist() == [plan.labels[number] for number in plan.validation]
    assert set(fed.training) | set(fed.validation) == set(range(30)) and not set(fed.training) & set(fed.validation)


def test_an_epoch_is_shuffled_whole_batches_of_all_training_pictures(feed):
    fed = feed(batch_size=5)
    epochs = [np.concatenate([t for _, t in fed.batches(fed.training, shuffled=True).as_numpy_iterator()]) for _ in "ab"]
    assert [len(epoch) for epoch in epochs] == [20, 20]  # of 24
    ordered = np.concatenate([t for _, t in fed.batches(fed.training).as_numpy_iterator()])
    assert len(ordered) == 24 and not np.array_equal(ordered[:20], epochs[0])


def test_augmentation_stays_in_the_range_of_pixels_and_light_does_not_mirror(feed, plan):
    low, high = plan.preprocess.value_range
    halves = np.zeros((8, 32, 32, 3), np.float32)
    halves[:, :, 16:] = 255
    for name, mirrors in (("none", False), ("light", False), ("standard", True)):
        fed = feed(augment=name)
        (inputs, _), *_ = fed.batches(fed.training, augmented=True).as_numpy_iterator()
        plain = next(fed.batches(fed.training).as_numpy_iterator())[0]
        assert inputs.min() >= low - 1e-6 and inputs.max() <= high + 1e-6
        assert np.array_equal(inputs, plain) == (name == "none")
        turned = 0
        for _ in range(4):
            changed = halves
            for layer in cached._AUGMENT[name]():
                changed = layer(changed, training=True)
            left, right = np.asarray(changed)[:, :, :3].mean(axis=(1, 2, 3)), np.asarray(changed)[:, :, -3:].mean(axis=(1, 2, 3))
            turned += (left > right).sum()
        assert (turned > 0) == mirrors and turned < 32


def test_gray_pictures_are_not_mirrored_unless_told(tmp_path, feed):
    assert feed(augment="auto").augment == "standard"
    assert feed.said == [None] * 30
    gray = dataset.read(pictures(tmp_path / "gray", gray=True))
    fed = feed(augment="auto", paths=tuple(map(str, gray.paths)))
    assert fed.augment == "light"
    assert "gray pictures: augmented without mirroring and light; --augment standard has them" in feed.said


def test_rare_classes_weigh_more(tmp_path, feed, heard):
    assert feed().class_weights is None
    folder = pictures(tmp_path / "rare", counts=(5, 10, 20))
    chosen = verb.selection.select(folder, validation=0.2, seed=0, on_note=heard.notes.append)
    fed = feed(**vars(chosen))
    assert fed.class_weights == pytest.approx({0: 28 / 3 / 4, 1: 28 / 3 / 8, 2: 28 / 3 / 16})
    assert "unbalanced classes, 16 of 'red' and 4 of 'blue': weighted, so that all count alike" in feed.said


# Which epoch is best, and when it is over.


def epoch(number, accuracy, loss=1.0, stage="whole", total=40):
    figures = {"loss": 1.0, "accuracy": 0.5, "val_loss": loss, "val_accuracy": accuracy, "seconds": 1.0}
    return record.Epoch(stage=stage, number=number, total=total, **figures)


class Weights:
    """Stands for a Keras model: saves the number of the epoch."""

    def __init__(self, number):
        self.number = number

    def save_weights(self, path):
        path.write_text(str(self.number))


def test_history_keeps_the_best_of_each_stage_and_survives(tmp_path):
    history = stages.History(tmp_path)
    assert history.best() is None and not history.is_over("head", 3)
    runs = [epoch(1, 0.7, stage="head"), epoch(2, 0.7, 0.9, stage="head"), epoch(1, 0.5), epoch(2, 0.6), epoch(3, 0.6, 1.1)]
    for one in runs:
        history.add(one, Weights(one.number))
    again = stages.History(tmp_path)
    assert again.epochs == runs
    assert (again.best(), again.best("whole")) == (runs[1], runs[3])  # of equal accuracy the lower loss
    left = {path.name: path.read_text() for path in tmp_path.glob("best-*")}
    assert left == {"best-head-2.weights.h5": "2", "best-whole-2.weights.h5": "2"}


def test_a_stage_is_over_when_it_gets_no_better(tmp_path):
    history = stages.History(tmp_path)
    history.add(epoch(1, 0.5), Weights(1))
    for number in range(2, 12):
        assert not history.is_over("whole", 40)
        history.add(epoch(number, 0.4), Weights(number))
    assert history.is_over("whole", 40)  # 10 of 40 without a better one
    assert not history.is_over("head", 40)
    assert stages.History(tmp_path).is_over("whole", 11)
