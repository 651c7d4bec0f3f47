"""What fine-tuning is asked to do, what it says on the way, what it tells of the model it wrote. Pure data."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgecls import artifact
from edgecls.artifact import WeightsInfo
from edgecls.errors import BadFile
from edgecls.spec import Preprocess

#: Version of the shape of `Training`. A reader refuses versions it does not know.
SCHEMA = 1
#: The member of a .keras archive that holds it; Keras takes no notice of members it does not know.
MEMBER = "edgecls.json"

#: Files of the state folder.
PLAN, EPOCHS, RESULT = "plan.json", "epochs.jsonl", "model.keras"

#: "light" moves and scales, "standard" mirrors and changes the light too; "auto" is "light" for gray pictures.
Augment = Literal["auto", "none", "light", "standard"]

#: Pictures in a step; share of each class's pictures to validate on, where no folder holds such pictures.
BATCH_SIZE, VALIDATION = 32, 0.2


@dataclass(frozen=True)
class Defaults:
    """See `Plan`."""

    head_epochs: int
    epochs: int
    learning_rate: float


#: With a trained backbone, and without one.
TRAINED, UNTRAINED = Defaults(20, 20, 1e-4), Defaults(0, 60, 1e-3)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides what comes out.

    model: key of the row. weights: what to begin with; weights_file: where they are, if not random.
    data: the folder that is trained on. paths, labels: every picture and the index of its class;
        validation: numbers of those that are not trained on. digest: sha256 over what is in the
        pictures, their classes and the split.
    head_epochs, epochs: at most so many with the backbone frozen, and of the whole network.
    learning_rate: the highest one of the whole network's.
    """

    model: str
    weights: WeightsInfo
    weights_file: str | None
    preprocess: Preprocess
    classes: tuple[str, ...]
    data: str
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    validation: tuple[int, ...]
    digest: str
    augment: Augment
    head_epochs: int
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int

    @property
    def options(self) -> dict[str, Any]:
        """What a repeated call is compared by: the same, and it goes on where the other was."""
        weights = dataclasses.replace(self.weights, reason=None)  # which may be in other words each time
        left_out = ("paths", "labels", "validation", "weights_file")  # of which there are digests
        everything = dataclasses.asdict(dataclasses.replace(self, weights=weights))
        return {name: value for name, value in everything.items() if name not in left_out}


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training pictures: the `number`th, from 1, of `total` at most.

    accuracy: shares of pictures named rightly, 0..1; val_...: of the validation pictures.
    """

    stage: Literal["head", "whole"]
    number: int
    total: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float

    @property
    def rank(self) -> tuple[float, float]:
        """Higher is better: accuracy on the validation pictures, and where that is equal the loss."""
        return self.val_accuracy, -self.val_loss


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a fine-tuned model came about and how to feed it.

    weights: what it began with. data, digest: as in `Plan`. pictures, validation: how many it was
    trained on and how many it was not. accuracy: share of the latter that it names rightly, 0..1;
    the best epoch was chosen by it, so pictures that it has never seen may be named less rightly.
    finished: whether training came to its end.
    """

    model: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    weights: WeightsInfo
    data: str
    digest: str
    pictures: int
    validation: int
    accuracy: float
    finished: bool
    seed: int
    options: Mapping[str, Any]
    schema: int = field(default=SCHEMA)


def attach(training: Training, path: Path) -> None:
    """Add the record to the .keras archive at `path`, which has none yet."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, json.dumps(dataclasses.asdict(training), indent=1, allow_nan=False) + "\n")


def read(path: Path) -> Training | None:
    """The record in the .keras archive at `path`; None where there is none. Raises BadFile."""
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if MEMBER not in archive.namelist():
                return None
            record = json.loads(archive.read(MEMBER))
        if record.get("schema") != SCHEMA:
            raise ValueError(f"schema {record.get('schema')!r} is not {SCHEMA}; use the edgecls that wrote it")
        return artifact.decode(Training, record)
    except (ValueError, TypeError, AttributeError, OSError, zipfile.BadZipFile) as error:
        raise BadFile(f"{path.name} holds no record of its training that can be read: {error}") from error
