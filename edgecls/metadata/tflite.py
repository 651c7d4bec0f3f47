"""TFLite metadata: a flatbuffer inside the model's, and a zip of files behind it.

It is written without unpacking the model. In front of the flatbuffer, which stays as it is, stands a new
one that has the root of the model, its list of buffers and its list of metadata. Its offsets lead into
the old one, as offsets only ever lead forward.
"""

from __future__ import annotations

import math
import mmap
from typing import IO, Any, Literal

from edgecls.metadata import Metadata, flatbuffer
from edgecls.metadata.archive import Zip
from edgecls.metadata.model import End, Model
from edgecls.metadata.schema import COLOR_SPACES, IDENTIFIER, MIN_PARSER_VERSION, TENSOR_AXIS_LABELS

#: The file that names the outputs, and how long it may be, bytes.
LABELS, _LONGEST = "labels.txt", 10_000_000
#: Smallest and largest value of types that pictures have as they come.
_INTEGERS = {"uint8": (0.0, 255.0), "int8": (-128.0, 127.0)}


def read(data: mmap.mmap) -> Metadata | None:
    """See `metadata.read`. Raises ValueError, struct.error for what is damaged."""
    model = Model(data)
    tree = model.metadata()
    if tree is None:
        return None
    files = Zip(data)
    image = _tensors(tree, "input")[:1]
    normalization, color = {}, None
    for tensor in image:
        normalization = _normalization(tensor) or {}
        kind, properties = tensor.get("content", {}).get("content_properties", ("", {}))
        if kind == "ImageProperties":
            color = {number: name for name, number in COLOR_SPACES.items()}.get(
                properties.get("color_space"), "other"
            )
    listed = _labels_files(tree)[:1]
    missing = [name for name in listed if name not in files.names]
    custom = [one.get("name", "") for sub in _graphs(tree) for one in sub.get("custom_metadata", [])]
    return Metadata(
        name=tree.get("name"),
        description=tree.get("description"),
        version=tree.get("version"),
        author=tree.get("author"),
        licence=tree.get("license"),
        input=image[0].get("description") if image else None,
        mean=_numbers(normalization.get("mean")),
        std=_numbers(normalization.get("std")),
        color=color,
        labels=_lines(files.content(*listed, _LONGEST)) if listed and not missing else None,
        missing=tuple(missing),
        kept=(*(name for name in files.names if name not in listed), *custom),
    )


def outputs(data: mmap.mmap) -> int | None:
    """See `metadata.outputs`."""
    ends = Model(data).ends("output")
    sizes = ends[0].shape if len(ends) == 1 else ()
    count = math.prod(sizes[1:]) if len(sizes) > 1 else sum(sizes)
    return count if count > 0 else None


def write(data: mmap.mmap, metadata: Metadata, file: IO[bytes]) -> None:
    """See `metadata.write`: the whole new file goes into the empty `file`."""
    model, files = Model(data), Zip(data)
    tree = model.metadata(whole=True) or {}
    before = _labels_files(tree)
    _change(tree, metadata, model)
    after = _labels_files(tree)
    own = {name: "\n".join(metadata.labels).encode() for name in after[:1]}
    original = model.original()
    original.check_end(files.start)
    content = flatbuffer.write("ModelMetadata", tree, IDENTIFIER)
    file.write(original.front(content))
    with memoryview(data) as view, view[original.base : files.start] as kept:
        file.write(kept)
    files.copy(file, own, without=set(before) - set(after))


def _graphs(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """The main graph, where there is something about it."""
    return tree.get("subgraph_metadata", [])[:1]


def _tensors(tree: dict[str, Any], end: Literal["input", "output"]) -> list[dict[str, Any]]:
    return [tensor for graph in _graphs(tree) for tensor in graph.get(f"{end}_tensor_metadata", [])]


def _normalization(tensor: dict[str, Any]) -> dict[str, Any] | None:
    kinds = (unit.get("options", ("", None)) for unit in tensor.get("process_units", []))
    return next((options for kind, options in kinds if kind == "NormalizationOptions"), None)


def _labels_files(tree: dict[str, Any]) -> list[str]:
    """The first counts; others are the same labels in other languages."""
    files = (file for tensor in _tensors(tree, "output")[:1] for file in tensor.get("associated_files", []))
    return [file["name"] for file in files if file.get("type") == TENSOR_AXIS_LABELS and "name" in file]


def _lines(content: bytes) -> tuple[str, ...]:
    return tuple(line.rstrip("\r") for line in content.decode("utf-8-sig").rstrip().split("\n"))


def _numbers(values: list[float] | None) -> tuple[float, ...] | None:
    """float32 as they were written: 123.675, not 123.67500305."""
    return values and tuple(float(f"{value:.7g}") for value in values)


def _change(tree: dict[str, Any], metadata: Metadata, model: Model) -> None:
    """Bring `metadata` into the tree of a ModelMetadata."""
    for key in ("name", "description", "version", "author"):
        _set(tree, key, getattr(metadata, key))
    _set(tree, "license", metadata.licence)
    tree.setdefault("min_parser_version", MIN_PARSER_VERSION)
    if not tree.get("subgraph_metadata"):
        tree["subgraph_metadata"] = [{}]
    graph = tree["subgraph_metadata"][0]
    for kind in ("input", "output"):  # readers want one for each, with names
        tensors = graph.setdefault(f"{kind}_tensor_metadata", [])
        for number, end in enumerate(model.ends(kind)):
            if number == len(tensors):
                tensors.append({})
            tensors[number].setdefault("name", end.name)
    _change_image(graph["input_tensor_metadata"][0], metadata, model.ends("input")[0])
    scores = graph["output_tensor_metadata"][0]
    scores.setdefault("content", {}).setdefault("content_properties", ("FeatureProperties", {}))
    files = scores.get("associated_files", [])
    if metadata.labels is None:
        files = [file for file in files if file.get("type") != TENSOR_AXIS_LABELS]
    elif not _labels_files(tree):
        entry = {
            "name": LABELS,
            "description": "Labels of the outputs, one a line.",
            "type": TENSOR_AXIS_LABELS,
        }
        files = [entry, *files]
    _set(scores, "associated_files", files or None)


def _change_image(tensor: dict[str, Any], metadata: Metadata, end: End) -> None:
    _set(tensor, "description", metadata.input)
    known = _normalization(tensor) or {}
    if (metadata.mean, metadata.std) != (_numbers(known.get("mean")), _numbers(known.get("std"))):
        units = [
            one
            for one in tensor.get("process_units", [])
            if one.get("options", ("",))[0] != "NormalizationOptions"
        ]
        if metadata.mean:
            options = {"mean": list(metadata.mean), "std": list(metadata.std)}
            units.append({"options": ("NormalizationOptions", options)})
            scaled = list(zip(metadata.mean, metadata.std, strict=True))
            if end.dtype in _INTEGERS:
                low, high = ([value] for value in _INTEGERS[end.dtype])
            else:
                low, high = ([(pixel - mean) / std for mean, std in scaled] for pixel in (0, 255))
            tensor["stats"] = {"min": low, "max": high}
        _set(tensor, "process_units", units or None)
    content = tensor.get("content", {})
    kind, properties = content.get("content_properties", ("ImageProperties", {}))
    if kind == "ImageProperties":
        _set(properties, "color_space", COLOR_SPACES.get(metadata.color))
        if len(end.shape) == 4 and min(end.shape) > 0:
            properties.setdefault("default_size", {"width": end.shape[2], "height": end.shape[1]})
        _set(content, "content_properties", (kind, properties) if metadata.color else None)
        _set(tensor, "content", content or None)


def _set(table: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
