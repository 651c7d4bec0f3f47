"""The child process that fine-tunes: the head on features of the frozen backbone, then the whole network."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import keras

from edgecls import artifact, builder, layers, registry
from edgecls.finetuning import record
from edgecls.finetuning.pictures import Pictures
from edgecls.finetuning.record import EPOCHS, RESULT, Epoch, Plan, Training

#: Highest learning rate of the head's Adam.
HEAD_LEARNING_RATE = 1e-3
#: Share of a stage's steps in which the learning rate climbs, before it falls as a cosine does.
WARMUP = 0.1
#: Share of the target that all classes have alike (Szegedy et al. 2015, section 7): logits stay small.
LABEL_SMOOTHING = 0.1
#: A stage ends early when this share of its epochs, and no fewer than so many, have gone by without a better one.
PATIENCE_SHARE, PATIENCE = 0.25, 5
#: Momentum of batch norms that are trained: with Keras's 0.99 a small set has too few steps to arrive.
MOMENTUM = 0.9

_OPTIONS = ("head_epochs", "epochs", "batch_size", "learning_rate")
#: Seconds between two events of one epoch.
_PAUSE = 0.2


def train(plan: dict[str, Any], state: str, emit) -> dict[str, Any]:
    """Child process: go on from what is in the folder `state`, to model.keras in it.

    Returns its `Training`, as JSON. Raises UsageError where too few pictures can be read.
    """
    plan, state = artifact.decode(Plan, plan), Path(state)
    keras.utils.set_random_seed(plan.seed)
    pictures = Pictures(plan, state, emit)
    emit({"stage": "build"})
    model = _network(plan)
    if plan.head_epochs:
        _train_head(model, pictures, emit)
    if plan.epochs:
        _train_whole(model, pictures, emit)
    return _write(pictures, finished=True)


def conclude(plan: dict[str, Any], state: str, emit) -> dict[str, Any]:
    """Child process: model.keras of the best epoch there is so far. Returns its `Training`, as JSON."""
    plan = artifact.decode(Plan, plan)
    return _write(Pictures(plan, Path(state), lambda event: None), finished=False)


def _network(plan):
    """The row with a new head: on the backbone of a weights file, or all with Keras's initial weights.

    On a trained backbone the head begins at zero: what random weights say of features that few pictures
    show would stay in it. On 113 photographs of 5 kinds that makes 84% of others right, in place of 70%.
    """
    spec, size = registry.get(plan.model), plan.preprocess.crop
    model = builder.assemble(spec, classes=len(plan.classes), input_size=size)
    if plan.weights.trained:
        trained = builder.build(spec, weights=Path(plan.weights_file), input_size=size)
        head = layers.classifier(model)
        for layer in model.layers:
            if layer is head:
                layer.kernel.assign(keras.ops.zeros_like(layer.kernel))
            else:
                layer.set_weights(trained.get_layer(layer.name).get_weights())
    return model


def _head(model):
    """From the classifier's input on."""
    return keras.Model(layers.classifier(model).input, model.output)


def _train_head(model, pictures, emit):
    head, epochs = _head(model), pictures.plan.head_epochs
    history = History(pictures.state)
    if not history.is_over("head", epochs):
        backbone = keras.Model(model.input, layers.classifier(model).input)
        batches = pictures.feature_batches(backbone)
        _fit(head, "head", batches, pictures, epochs, HEAD_LEARNING_RATE, history, emit)
    head.load_weights(history.weights(history.best("head")))


def _train_whole(model, pictures, emit):
    """Batch norms of a trained backbone keep their statistics: those of a small set's batches are worse."""
    plan, history = pictures.plan, History(pictures.state)
    if history.is_over("whole", plan.epochs):
        return
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable, layer.momentum = not plan.weights.trained, MOMENTUM
    whole = keras.Model(model.input, model.output)  # is compiled: an optimizer would be saved with `model`
    batches = (
        pictures.batches(pictures.training, shuffled=True, augmented=True),
        pictures.batches(pictures.validation),
    )
    _fit(whole, "whole", batches, pictures, plan.epochs, plan.learning_rate, history, emit)


def _fit(model, stage, batches, pictures, epochs, learning_rate, history, emit):
    """Keras's fit, from where the stage was left to its end."""
    training, validation = batches
    steps = epochs * len(training)
    warmup = int(WARMUP * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=learning_rate, warmup_steps=warmup
    )
    model.compile(
        keras.optimizers.Adam(schedule, clipnorm=1.0),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=LABEL_SMOOTHING),
        metrics=["accuracy"],
        jit_compile=False,  # XLA takes minutes to compile, and trains no faster on a CPU
    )
    keep = _Keep(stage, epochs, len(training), history, emit)
    backup = keras.callbacks.BackupAndRestore(pictures.state / stage, double_checkpoint=True)
    model.fit(
        training,
        validation_data=validation,
        epochs=epochs,
        class_weight=pictures.class_weights,
        callbacks=[keep, backup],
        shuffle=False,  # the batches are shuffled
        verbose=0,
    )


class History:
    """The epochs that are done, and the weights of the best of each stage."""

    def __init__(self, state: Path):
        self.state, self.file = state, state / EPOCHS
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []
        self.epochs = [artifact.decode(Epoch, json.loads(line)) for line in lines]

    def best(self, stage: str | None = None) -> Epoch | None:
        """The best epoch, of one stage or of all; None where there is none."""
        return max((e for e in self.epochs if stage in (None, e.stage)), key=lambda e: e.rank, default=None)

    def weights(self, epoch: Epoch) -> Path:
        return self.state / f"best-{epoch.stage}-{epoch.number}.weights.h5"

    def is_over(self, stage: str, total: int) -> bool:
        """Whether all `total` epochs are done, or too many have gone by since the best."""
        last = max((e.number for e in self.epochs if e.stage == stage), default=0)
        waited = last and last - self.best(stage).number
        return last == total or waited >= max(PATIENCE, PATIENCE_SHARE * total)

    def add(self, epoch: Epoch, model: keras.Model) -> None:
        """Keep the epoch, and the weights if it is its stage's best; those of the one before go."""
        best = self.best(epoch.stage)
        if better := best is None or epoch.rank > best.rank:
            model.save_weights(self.weights(epoch))
        self.epochs.append(epoch)
        with artifact.writing(self.file) as file:
            file.writelines(json.dumps(dataclasses.asdict(one)) + "\n" for one in self.epochs)
        if better and best:
            self.weights(best).unlink()


class _Keep(keras.callbacks.Callback):
    """Tells of every epoch, keeps the best weights of the stage, ends it when it gets no better.

    What Keras's own callbacks know of the best is lost when the process is killed.
    """

    def __init__(self, stage, total, steps, history, emit):
        super().__init__()
        self.stage, self.total, self.steps, self.history, self.emit = stage, total, steps, history, emit

    def on_epoch_begin(self, epoch, logs=None):
        self.start = self.told = time.monotonic()
        self.number = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() - self.told > _PAUSE:
            self.told = time.monotonic()
            self.emit({"stage": f"{self.stage} {self.number}/{self.total}", "done": batch + 1, "total": self.steps})

    def on_epoch_end(self, epoch, logs=None):
        # An epoch may be done again where the process was killed before Keras's backup of it.
        if not any((e.stage, e.number) == (self.stage, self.number) for e in self.history.epochs):
            best = self.history.best()
            done = Epoch(
                stage=self.stage,
                number=self.number,
                total=self.total,
                seconds=time.monotonic() - self.start,
                **{name: float(logs[name]) for name in ("loss", "accuracy", "val_loss", "val_accuracy")},
            )
            self.history.add(done, self.model)
            self.emit({"epoch": dataclasses.asdict(done), "best": best is None or done.rank > best.rank})
        if self.history.is_over(self.stage, self.total):
            self.model.stop_training = True


def _write(pictures, *, finished):
    """model.keras of the best epoch. Its network is built anew: of the head's epochs the backbone is the old one."""
    plan, history = pictures.plan, History(pictures.state)
    model, best = _network(plan), history.best()
    (_head(model) if best.stage == "head" else model).load_weights(history.weights(best))
    path = pictures.state / RESULT
    model.save(path)
    training = Training(
        model=plan.model,
        labels=plan.classes,
        preprocess=plan.preprocess,
        weights=plan.weights,
        data=plan.data,
        digest=plan.digest,
        pictures=len(pictures.training),
        validation=len(pictures.validation),
        accuracy=best.val_accuracy,
        finished=finished,
        seed=plan.seed,
        options={name: getattr(plan, name) for name in _OPTIONS} | {"augment": pictures.augment},
    )
    record.attach(training, path)
    return dataclasses.asdict(training)
