"""Pictures to calibrate with, and others to judge the result by.

`plan` chooses them and takes their digest, quickly and without decoding; `materialise` writes them
as arrays, in a child process.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgecls import artifact
from edgecls.artifact import CalibrationInfo, Spread
from edgecls.errors import BadFile, UnknownName, UsageError
from edgecls.spec import PREPROCESS, Preprocess

if TYPE_CHECKING:
    import numpy as np

#: Pictures taken of a folder or an array, unless told otherwise.
SAMPLES = 100
#: Synthetic pictures taken. What one in thirty of them does deep in a net of many gates, the others do not:
#: EfficientNet B1 and B2 with random weights had 5 dB in int8 with 32, 12 dB with 64 and no more with 128.
SYNTHETIC_SAMPLES = 64
#: How a range is found in a tensor's values; `ranges` has what each gives.
METHODS = ("min-max", "percentile", "entropy", "mse")
METHOD = "min-max"
#: Held-out pictures that an artifact is compared with its float model on: as many, or fewer large
#: ones, since they are kept beside it.
HELD, _LEAST_HELD, _HELD_BYTES = 32, 8, 5_000_000

SYNTHETIC = "synthetic"
_LISTS = (".txt", ".csv", ".tsv")
#: Part of the digest of synthetic pictures: counts up when they change.
_SYNTHETIC_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be calibrated with.

    method: one of `METHODS`. skipped: entries of a list that are no pictures, with the reason.
    chosen, held: paths of pictures, or numbers of rows of an array or of a synthetic series. held
    is empty where fewer than `HELD` are left; the chosen ones are judged by then, too.
    digest: sha256 over the content of the chosen ones, before any preprocessing.
    preprocess: how pixels become the model's input; None where nobody said it.
    """

    kind: Literal["synthetic", "folder", "list", "array"]
    source: str
    method: str
    skipped: tuple[str, ...] = ()
    digest: str
    seed: int
    chosen: tuple[str | int, ...]
    held: tuple[str | int, ...]
    preprocess: Preprocess | None

    def fit(self, size: int, channels: int) -> Plan:
        """The same pictures for a model of that input."""
        return dataclasses.replace(self, preprocess=self.preprocess and self.preprocess.fit(size, channels))

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Plan:
        preprocess = record["preprocess"] and Preprocess.from_json(record["preprocess"])
        return cls(**{**record, "preprocess": preprocess})


def plan(
    source: str | Path = SYNTHETIC,
    *,
    preprocess: Preprocess | None,
    samples: int | None = None,
    seed: int = 0,
    method: str = METHOD,
) -> Plan:
    """Choose pictures from `source`: "synthetic", a folder of pictures, a list, or a .npy or .npz file.

    A list is a text file of paths, see `dataset.read`. An array holds pictures (count, height, width,
    channels): uint8 pixels, RGB or gray, or floats in the model's own space. samples: how many to take;
    which ones depends on `seed`. method: one of `METHODS`.
    preprocess: how pictures become the model's input; None where nobody said it.
    Raises BadFile, UnknownName, UsageError.
    """
    from edgecls import dataset, images

    if method not in METHODS:
        raise UnknownName("calibration method", method, METHODS)
    if samples is not None and samples < 1:
        raise UsageError(f"--samples must be at least 1, got {samples}")
    if str(source) == SYNTHETIC:
        count = samples or SYNTHETIC_SAMPLES
        return Plan(
            kind=SYNTHETIC,
            source=SYNTHETIC,
            method=method,
            digest=_digest(SYNTHETIC, _SYNTHETIC_VERSION, count, seed),
            seed=seed,
            chosen=tuple(range(count)),
            held=tuple(range(count, count + HELD)),
            preprocess=preprocess,
        )
    path, skipped = Path(source), ()
    if path.is_dir():
        kind, found = "folder", [str(picture) for picture in images.pictures_in(path)]
        if not found:
            suffixes = ", ".join(sorted(images.SUFFIXES))
            raise UsageError(f"no picture in {str(source)!r}; it should hold files of {suffixes}")
    elif path.is_file() and path.suffix.lower() in (".npy", ".npz"):
        array = _open_array(path)
        kind, found = "array", range(len(array))
    elif path.is_file() and path.suffix.lower() in _LISTS:
        listed = dataset.read(path)
        kind, found, skipped = "list", [str(picture) for picture in listed.paths], listed.skipped
    else:
        known = "a folder of pictures, a list of them (.txt, .csv, .tsv), a .npy file or `synthetic`"
        raise BadFile(f"no pictures {str(source)!r}; give {known}")
    if preprocess is None and (kind != "array" or array.dtype == "uint8"):
        known = ", ".join(PREPROCESS)
        how = f"--preprocess {known}, like:NAME, or mean=... and std=..."
        raise UsageError(f"how do pictures become this model's input? say {how}")
    chosen, held = _sample(found, samples or SAMPLES, seed)
    content = (_content(path), chosen) if kind == "array" else map(_content, chosen)
    return Plan(
        kind=kind,
        source=str(source),
        method=method,
        skipped=skipped,
        digest=_digest(*content),
        seed=seed,
        chosen=chosen,
        held=held,
        preprocess=preprocess,
    )


def check_shape(plan: Plan, size: int, channels: int) -> None:
    """Raise UsageError where the plan's pictures cannot have the model's input shape."""
    if plan.kind == "array":
        shape, wanted = _open_array(Path(plan.source)).shape[1:], (size, size, channels)
        if shape != wanted:
            raise UsageError(f"{plan.source} holds pictures of {shape}, the model takes {wanted}")
    elif plan.preprocess and plan.preprocess.channels != channels:
        given = f"the preprocessing makes {plan.preprocess.channels} channels, the model takes {channels}"
        raise UsageError(f"{given}; give a .npy file with --calibration")
    elif channels not in (1, 3):
        raise UsageError(f"no synthetic picture has {channels} channels; give a .npy file with --calibration")


def materialise(
    plan: Mapping[str, Any], size: int, channels: int, calibration: str, held: str
) -> dict[str, Any]:
    """Write both sets as .npy files: the one to calibrate with as input, float32 (count, 1, size,
    size, channels) in the model's space, the other as `load` has it.

    plan: as JSON. Returns the CalibrationInfo as JSON; of `held` which set it is in words, and the
    preprocessing that makes it input; and warnings.
    Raises as `load` does.
    """
    import numpy as np

    from edgecls import images
    from edgecls.exporters import picture_checks

    plan = Plan.from_json(plan).fit(size, channels)
    pictures, skipped = load(plan, plan.chosen, size, channels)
    inputs = images.inputs(pictures, plan.preprocess)
    picture_checks.check_scale(plan.source, inputs, plan.preprocess)
    np.save(calibration, inputs[:, None])
    if plan.held:
        others, _ = load(plan, plan.held[: _held(pictures)], size, channels)
        words = f"{len(others)} pictures of {plan.source} that calibration did not see"
    else:
        others = pictures[: _held(pictures)]
        words = f"{len(others)} of the calibration pictures: {plan.source} has too few to hold any out"
    np.save(held, others)
    info = CalibrationInfo(
        source=plan.source,
        count=len(pictures),
        digest=plan.digest,
        method=plan.method,
        pixels=_spread(pictures) if pictures.dtype == np.uint8 else None,
        inputs=_spread(inputs),
        seed=plan.seed,
        skipped=(*plan.skipped, *skipped),
    )
    return {
        "info": dataclasses.asdict(info),
        "held": {"words": words, "preprocess": plan.preprocess and plan.preprocess.to_json()},
        "warnings": _warnings(plan, inputs, skipped),
    }


def load(plan: Plan, names: Sequence[str | int], size: int, channels: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """(pictures, names of files that cannot be read) of `names` in the plan.

    Pictures are (count, size, size, channels): uint8 pixels, or float32 in the model's own space.
    Raises UsageError where the shape is not the model's or a value is not finite, and BadFile where
    no picture can be read.
    """
    import numpy as np

    from edgecls import images, synthetic

    plan = plan.fit(size, channels)
    check_shape(plan, size, channels)
    if plan.kind == SYNTHETIC:
        pixels = synthetic.pictures(len(names), size, channels=channels, seed=plan.seed, first=names[0])
        return pixels if plan.preprocess else pixels / np.float32(127.5) - 1, ()
    if plan.kind == "array":
        rows = _open_array(Path(plan.source))[list(names)]
        if not np.isfinite(rows).all():
            raise UsageError(f"{plan.source} holds values that are not finite; calibrate with others")
        return rows if rows.dtype == np.uint8 else rows.astype(np.float32), ()
    loaded, skipped = [], []
    for name in names:
        try:
            loaded.append(images.pixels(name, plan.preprocess))
        except BadFile:
            skipped.append(name)
    if not loaded:
        raise BadFile(f"none of the {len(names)} pictures of {plan.source} can be read")
    return np.stack(loaded), tuple(skipped)


def _held(pictures):
    """How many pictures are kept to judge by, that they take no more than a few MB."""
    return min(HELD, max(_LEAST_HELD, _HELD_BYTES // pictures[0].nbytes))


def _warnings(plan, inputs, skipped):
    from edgecls.exporters import picture_checks

    warnings = [f"{why}, and is left out" for why in plan.skipped]
    warnings += [f"{name} cannot be read and is left out" for name in skipped]
    if plan.kind != SYNTHETIC:
        return warnings + list(picture_checks.warnings(plan.source, inputs, plan.preprocess))
    if plan.preprocess is None:
        warnings.append("synthetic pictures were scaled to -1..1; --preprocess says what the model takes")
    return warnings


def _spread(values):
    import numpy as np

    mean, std = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    return Spread(min=float(values.min()), max=float(values.max()), mean=float(mean), std=float(std))


def _sample(found, count, seed):
    """(chosen, held out), drawn by `seed`; nothing is held out of too small a set."""
    import numpy as np

    order = [found[i] for i in np.random.default_rng(seed).permutation(len(found))]
    held = order[count : count + HELD]
    return tuple(sorted(order[:count])), tuple(sorted(held)) if len(held) == HELD else ()


def _digest(*parts):
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()


def _content(path):
    try:
        return artifact.sha256(Path(path))
    except OSError:  # named and left out when it is its turn to be decoded
        return "unreadable"


def _open_array(path):
    """The array of pictures in `path`, its data still on disk where the format allows it."""
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):  # an .npz is an archive of arrays
            if len(array.files) != 1:
                raise ValueError(f"it holds {len(array.files)} arrays, expected one")
            array = array[array.files[0]]
    except Exception as error:  # numpy, zipfile and zlib each raise their own
        raise BadFile(f"{path.name} cannot be read as an array of pictures: {error}") from error
    if array.ndim != 4 or not (array.dtype == np.uint8 or array.dtype.kind == "f") or not len(array):
        wanted = "uint8 pixels or floats (count, height, width, channels)"
        raise UsageError(f"{path.name} holds {array.dtype} {array.shape}, expected {wanted}")
    return array
