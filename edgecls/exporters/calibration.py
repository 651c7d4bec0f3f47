"""Pictures to calibrate with, and others to judge the result by.

`plan` chooses them and takes their digest, quickly and without decoding; `materialise` writes them
as arrays, in a child process.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgecls import artifact, images, synthetic
from edgecls.artifact import CalibrationInfo
from edgecls.errors import BadFile, UsageError
from edgecls.spec import Preprocess

#: Pictures taken of a folder or an array, unless told otherwise.
SAMPLES = 100
#: Synthetic pictures taken: being alike, more of them find no wider ranges.
SYNTHETIC_SAMPLES = 32
#: Fewer pictures than these are worth a warning.
FEW = 16
#: Held-out pictures that an artifact is compared with its float model on.
HELD = 32

SYNTHETIC = "synthetic"
#: Part of the digest of synthetic pictures: counts up when they change.
_SYNTHETIC_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be calibrated with.

    chosen, held: paths of pictures, or numbers of rows of an array or of a synthetic series. held
    is empty where all were chosen; the chosen ones are judged by then, too.
    preprocess: None for arrays that are in the model's own space already.
    """

    kind: Literal["synthetic", "folder", "array"]
    source: str
    digest: str
    seed: int
    chosen: tuple[str | int, ...]
    held: tuple[str | int, ...]
    preprocess: Preprocess | None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Plan:
        preprocess = record["preprocess"] and Preprocess.from_json(record["preprocess"])
        return cls(**{**record, "preprocess": preprocess})


def plan(
    source: str | Path = SYNTHETIC, *, preprocess: Preprocess | None, samples: int | None = None, seed: int = 0
) -> Plan:
    """Choose pictures from `source`: "synthetic", a folder of pictures, or a .npy or .npz file.

    An array holds pictures (count, height, width, channels): uint8 pixels, or float32 in the
    model's own space. samples: how many to take; which ones depends on `seed`.
    preprocess: how pictures become the model's input; None where nobody said it.
    Raises BadFile, UsageError.
    """
    if samples is not None and samples < 1:
        raise UsageError(f"--samples must be at least 1, got {samples}")
    if str(source) == SYNTHETIC:
        return _synthetic(preprocess, samples or SYNTHETIC_SAMPLES, seed)
    path = Path(source)
    if path.is_dir():
        found = [str(picture) for picture in images.pictures_in(path)]
        if not found:
            raise UsageError(f"no picture in {str(source)!r}; it should hold jpg, png, webp or bmp files")
        chosen, held = _sample(found, samples or SAMPLES, seed)
        digest = hashlib.sha256("".join(artifact.sha256(Path(name)) for name in chosen).encode()).hexdigest()
        kind = "folder"
    elif path.suffix in (".npy", ".npz") and path.is_file():
        array = _open_array(path)
        chosen, held = _sample(list(range(len(array))), samples or SAMPLES, seed)
        digest = hashlib.sha256(f"{artifact.sha256(path)} {chosen}".encode()).hexdigest()
        kind = "array"
        if array.dtype != "uint8":
            return Plan(
                kind=kind, source=str(source), digest=digest, seed=seed, chosen=chosen, held=held, preprocess=None
            )
    else:
        raise BadFile(f"no calibration set {str(source)!r}; give a folder of pictures, a .npy file or `synthetic`")
    if preprocess is None:
        raise UsageError("how do pictures become this model's input? say --preprocess tf, torch, caffe, unit, none or like:NAME")
    return Plan(
        kind=kind, source=str(source), digest=digest, seed=seed, chosen=chosen, held=held, preprocess=preprocess
    )


def _synthetic(preprocess, count, seed):
    return Plan(
        kind="synthetic",
        source=SYNTHETIC,
        digest=hashlib.sha256(f"synthetic {_SYNTHETIC_VERSION} {count} {seed}".encode()).hexdigest(),
        seed=seed,
        chosen=tuple(range(count)),
        held=tuple(range(count, count + HELD)),
        preprocess=preprocess,
    )


def _sample(found, count, seed):
    """(chosen, held out), in a random order of `seed`; nothing is held out of too small a set."""
    import numpy as np

    order = [found[i] for i in np.random.default_rng(seed).permutation(len(found))]
    held = order[count : count + HELD]
    return tuple(order[:count]), tuple(held) if len(held) == HELD else ()


def _open_array(path):
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):  # an .npz is a folder of arrays
            (name,) = array.files
            array = array[name]
    except (ValueError, OSError, EOFError) as error:
        raise BadFile(f"{path.name} is not an array of pictures: {error}") from error
    if array.ndim != 4 or array.dtype not in (np.uint8, np.float32) or not len(array):
        wanted = "uint8 or float32 (count, height, width, channels)"
        raise UsageError(f"{path.name} holds {array.dtype} {array.shape}, expected {wanted}")
    return array


def check_shape(plan: Plan, size: int, channels: int) -> None:
    """Raise UsageError where an array's pictures are not of the model's input shape."""
    if plan.kind == "array":
        shape = _open_array(Path(plan.source)).shape[1:]
        if shape != (size, size, channels):
            raise UsageError(f"{plan.source} holds pictures of {shape}, the model takes {(size, size, channels)}")


def materialise(plan: dict, size: int, channels: int, calibration: str, held: str) -> dict[str, Any]:
    """Write both sets as .npy files, float32 (count, 1, size, size, channels) in the model's space.

    plan: as JSON. Returns the CalibrationInfo as JSON, which set `held` is in words, and warnings.
    Raises BadFile where no picture can be read.
    """
    import numpy as np

    chosen_plan = Plan.from_json(plan)
    check_shape(chosen_plan, size, channels)
    pictures, skipped = _load(chosen_plan, chosen_plan.chosen, size, channels)
    np.save(calibration, pictures[:, None])
    warnings = [f"{name} cannot be read and is left out" for name in skipped]
    if chosen_plan.kind != "synthetic" and len(pictures) < FEW:
        warnings.append(f"only {len(pictures)} calibration pictures; take {SAMPLES} or more, {FEW} at the least")
    if chosen_plan.held:
        others, _ = _load(chosen_plan, chosen_plan.held, size, channels)
        words = f"{len(others)} pictures of {chosen_plan.source} that calibration did not see"
    else:
        others = pictures[:HELD]
        words = f"{len(others)} of the calibration pictures: {chosen_plan.source} has too few to hold any out"
    np.save(held, others[:, None])
    info = CalibrationInfo(
        source=chosen_plan.source,
        count=len(pictures),
        digest=chosen_plan.digest,
        seed=chosen_plan.seed,
        skipped=tuple(skipped),
    )
    return {"info": dataclasses.asdict(info), "held": words, "warnings": warnings}


def _load(plan, names, size, channels):
    """(pictures (count, size, size, channels) float32, names that could not be read)."""
    import numpy as np

    preprocess = plan.preprocess.at(size) if plan.preprocess else None
    skipped = []
    if plan.kind == "array":
        pictures = _open_array(Path(plan.source))[list(names)]
        if preprocess:
            pictures = images.normalise(pictures, preprocess)
    elif plan.kind == "synthetic":
        pixels = synthetic.pictures(len(names), size, channels=channels, seed=plan.seed, first=names[0])
        # Without a preprocessing that is known, the range of most: -1 to 1.
        pictures = images.normalise(pixels, preprocess) if preprocess else pixels / np.float32(127.5) - 1
    else:
        loaded = []
        for name in names:
            try:
                loaded.append(images.load(name, preprocess))
            except BadFile:
                skipped.append(name)
        if not loaded:
            raise BadFile(f"none of the {len(names)} pictures of {plan.source} can be read")
        pictures = np.stack(loaded)
    return np.ascontiguousarray(pictures, np.float32), skipped
