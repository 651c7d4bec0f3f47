"""What the libraries on phones make of a .tflite file's metadata, before they are asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgecls.metadata import Metadata, opened
from edgecls.metadata.model import Model

#: Of uint8 input, where preprocessing is not plain.
NOT_PLAIN = (
    "does not take the camera's bytes as they are, since its preprocessing treats channels differently; "
    "apps that put them in all the same, as MediaPipe does, see other colours"
)


def remarks(path: Path, metadata: Metadata | None) -> Iterator[str]:
    """Why MediaPipe's ImageClassifier 1.2.2 refuses a .tflite file, or gets it wrong. Raises BadFile."""
    with opened(path) as (_, data):
        model = Model(data)
        inputs, outputs = model.ends("input"), model.ends("output")
    said = metadata or Metadata()
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
        yield "MediaPipe refuses it: a classifier has one picture as input and one list of scores as output"
        return
    image = inputs[0]
    if image.dtype not in ("uint8", "float32"):
        yield f"MediaPipe and LiteRT.js refuse {image.dtype} input; export it with --io uint8 or float32"
    if image.shape[0] != 1 or image.shape[3] not in (3, 4):
        yield f"MediaPipe refuses input of shape {image.shape}: it gives one RGB picture"
    elif said.color not in (None, "rgb"):
        yield "MediaPipe refuses it: it gives RGB pictures, and this takes others"
    plain = said.mean is None or len(set(zip(said.mean, said.std, strict=True))) == 1
    if image.dtype == "float32" and said.mean is None:
        yield "MediaPipe refuses it: float input needs --set mean=... and --set std=..., of pixels 0..255"
    elif image.dtype == "float32" and not plain:
        yield "MediaPipe refuses it: float input needs one mean and one std for all channels"
    elif image.dtype == "uint8" and not plain:
        yield f"{path.name} {NOT_PLAIN}"
    if said.missing:
        yield f"MediaPipe refuses it: its metadata lists {said.missing[0]}, which is not there; give --labels"
    elif said.labels is None:
        yield "MediaPipe answers with numbers: there are no labels; give --labels"
