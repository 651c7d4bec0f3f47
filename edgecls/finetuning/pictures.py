"""Decoded pictures and their features, once computed, as batches for Keras."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from edgecls import images
from edgecls.errors import BadFile, UsageError

#: Classes are weighted where the largest has so many times the training pictures of the smallest.
UNBALANCED = 1.5
#: Augmented variants of each training picture whose features are kept, beside those of the picture itself.
VARIANTS = 2


class Pictures:
    """Every picture of a plan, decoded, and its class.

    training, validation: numbers of the pictures for each that can be read.
    targets: one-hot classes, float32 (count, classes). class_weights: for Keras's fit.
    augment: "none", "light" or "standard".
    """

    def __init__(self, plan, state: Path, emit):
        self.plan, self.state, self.emit = plan, state, emit
        size, channels = plan.preprocess.crop, plan.preprocess.channels
        raw, beside = state / "pictures.raw", state / "unreadable.json"
        if not raw.exists():
            with _writing(raw) as file:
                unreadable = self._decode(file, np.zeros((size, size, channels), np.uint8))
                beside.write_text(json.dumps(unreadable), encoding="utf-8")
        unreadable = {int(number): why for number, why in json.loads(beside.read_text(encoding="utf-8")).items()}
        for why in unreadable.values():
            emit({"note": f"{why}; left out"})
        self.pixels = np.memmap(raw, np.uint8, "r").reshape(-1, size, size, channels)
        self.targets = np.eye(len(plan.classes), dtype=np.float32)[list(plan.labels)]
        readable = np.setdiff1d(np.arange(len(plan.paths)), list(unreadable))
        self.validation = np.intersect1d(readable, plan.validation)
        self.training = np.setdiff1d(readable, plan.validation)
        counts = [int(count) for count in self.targets[self.training].sum(axis=0)]
        if not min(counts) or not len(self.validation):
            missing = f"train {plan.classes[counts.index(0)]!r} with" if not min(counts) else "validate with"
            raise UsageError(f"none of the pictures to {missing} can be read; give others with --data")
        self.class_weights = self._class_weights(counts)
        self.augment = self._augment()

    def _decode(self, file, blank) -> dict[int, str]:
        """Write all pixels to `file`, `blank` for what is no picture; returns why it is none, by number."""

        def pixels(path):
            try:
                return images.pixels(path, self.plan.preprocess)
            except BadFile as error:
                return error

        unreadable = {}
        with ThreadPoolExecutor() as pool:
            for number, found in enumerate(pool.map(pixels, self.plan.paths)):
                if isinstance(found, BadFile):
                    unreadable[number], found = str(found), blank
                file.write(found.tobytes())
                self.emit({"stage": "decode", "done": number + 1, "total": len(self.plan.paths)})
        return unreadable

    def _class_weights(self, counts) -> dict[int, float] | None:
        """The rarer a class, the heavier its pictures; None where none is rare."""
        most, fewest = max(counts), min(counts)
        if most < UNBALANCED * fewest:
            return None
        names = (f"{n} of {self.plan.classes[counts.index(n)]!r}" for n in (most, fewest))
        self.emit({"note": f"unbalanced classes, {' and '.join(names)}: weighted, so that all count alike"})
        return {number: len(self.training) / (len(counts) * count) for number, count in enumerate(counts)}

    def _augment(self) -> str:
        if self.plan.augment != "auto":
            return self.plan.augment
        gray = all((pixels == pixels[..., :1]).all() for pixels in self.pixels)
        if gray:
            self.emit({"note": "gray pictures: augmented without mirroring and light; --augment standard has them"})
        return "light" if gray else "standard"

    def batches(self, numbers, *, shuffled: bool = False, augmented: bool = False) -> tf.data.Dataset:
        """(network input, targets) of the pictures `numbers`."""
        augment = _AUGMENT[self.augment]() if augmented else []
        return self._batches(self.pixels, numbers, self.targets[numbers], shuffled, [*augment, self._normalised])

    def feature_batches(self, backbone: keras.Model) -> tuple[tf.data.Dataset, tf.data.Dataset]:
        """(what `backbone` makes of the training pictures and of augmented variants, of the validation
        pictures; targets each)."""
        variants = 0 if self.augment == "none" else VARIANTS
        everything = np.arange(len(self.targets))
        raw = self.state / "features.raw"
        if not raw.exists():
            passes = [self.batches(everything)]
            passes += [self.batches(self.training, augmented=True) for _ in range(variants)]
            total = sum(map(len, passes))
            with _writing(raw) as file:
                for done, (pictures, _) in enumerate(batch for one in passes for batch in one):
                    file.write(backbone.predict_on_batch(pictures).tobytes())
                    self.emit({"stage": "features", "done": done + 1, "total": total})
        features = np.memmap(raw, np.float32, "r").reshape(-1, *backbone.output_shape[1:])
        numbers = np.concatenate([self.training, np.arange(len(everything), len(features))])
        targets = np.tile(self.targets[self.training], (1 + variants, 1))
        held = self._batches(features, self.validation, self.targets[self.validation])
        return self._batches(features, numbers, targets, shuffled=True), held

    def _batches(self, array, numbers, targets, shuffled=False, through=()):
        """(rows `numbers` of `array`, their targets), the rows having gone `through` some functions."""
        size = self.plan.batch_size
        data = tf.data.Dataset.from_tensor_slices((numbers, targets))
        if shuffled:
            data = data.shuffle(len(numbers), seed=self.plan.seed)
        # Without the rest of an epoch: statistics of a batch of one or two are of no use.
        data = data.batch(size, drop_remainder=shuffled and len(numbers) >= size)

        def fetch(numbers, targets):
            rows = tf.numpy_function(lambda numbers: array[numbers], [numbers], array.dtype)
            rows.set_shape((numbers.shape[0], *array.shape[1:]))
            for function in through:
                rows = function(rows)
            return rows, targets

        return data.map(fetch).prefetch(tf.data.AUTOTUNE)

    def _normalised(self, pixels):
        def normalise(pixels):
            return images.normalise(np.rint(pixels).clip(0, 255).astype(np.uint8), self.plan.preprocess)

        return tf.ensure_shape(tf.numpy_function(normalise, [pixels], tf.float32), pixels.shape)


def _light():
    """Moved and scaled a little: right for digits and signs, too."""
    return [
        keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
        keras.layers.RandomZoom(0.15, fill_mode="nearest"),
    ]


def _standard():
    """Mirrored and in another light, too."""
    colour = [keras.layers.RandomBrightness(0.15), keras.layers.RandomContrast(0.15)]
    return [*_light(), keras.layers.RandomFlip("horizontal"), *colour]


_AUGMENT = {"none": list, "light": _light, "standard": _standard}


@contextlib.contextmanager
def _writing(path: Path) -> Iterator:
    """A file that is there under its name once it is whole."""
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        yield file
    os.replace(partial, path)
