"""Reading .tflite and .onnx files as graphs, without the framework that wrote or runs them.

    graph = read("mobilenet_v2-int8.tflite")
    cost.cost(graph).macs

Files are memory-mapped and weights stay in them until `Graph.values` asks for some. A mapped file
must not be rewritten in place while its graph is in use; replacing it is fine.
"""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgecls.errors import BadFile, UsageError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class Quantization:
    """real = scale * (stored - zero_point). `axis` is None where one scale serves the whole tensor."""

    scale: np.ndarray
    zero_point: np.ndarray
    axis: int | None = None


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor of a graph; compared by identity.

    name: unique in its graph. shape: with a dynamic batch taken as 1; None where the file does not
        tell. dtype: numpy's name ("float32", "int8", "bool") or what numpy lacks ("int4", "string").
    storage: of a constant, what its bytes are filed under: tensors that share them have it equal.
        None for everything that is computed.
    quantization: TFLite's; in ONNX it is written as operators.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    storage: Hashable = None
    quantization: Quantization | None = None

    @property
    def constant(self) -> bool:
        return self.storage is not None

    @property
    def floating(self) -> bool:
        return "float" in self.dtype

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements, packed: two int4 to a byte. Raises ValueError for strings."""
        return (self.elements * bits(self.dtype) + 7) // 8


@dataclass(frozen=True, eq=False, kw_only=True)
class Op:
    """One node of a graph. An input that is left out is None.

    kind: TFLite's builtin name ("CONV_2D") or custom code; ONNX's type ("Conv"), with its domain
        before it where that is not ONNX's own ("com.microsoft.QGemm").
    name: the file's, or that of the first output where it has none.
    custom: belongs neither to the format's own operators nor to ONNX Runtime's.
    attributes: as the file holds them, TFLite's enumerations as numbers.
    """

    index: int
    kind: str
    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    custom: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Graph:
    """The main graph of a file; `ops` in the order in which they run.

    dynamic: input name -> axes whose size the file leaves open.
    subgraphs: how many graphs the file holds, this one included.
    metadata: TFLite: schema_version, description, min_runtime_version; ONNX: ir_version, opset, producer.
    """

    path: Path
    format: Literal["tflite", "onnx"]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    tensors: Mapping[str, Tensor]
    ops: tuple[Op, ...]
    dynamic: Mapping[str, tuple[int, ...]]
    subgraphs: int
    metadata: Mapping[str, str | int]
    load: Callable[[Tensor], np.ndarray] = field(repr=False)

    def values(self, tensor: Tensor) -> np.ndarray:
        """Elements of a constant, as stored (not dequantized), read-only, in place where possible.

        Raises BadFile where they are missing, damaged, or packed in a way numpy cannot hold.
        """
        try:
            return self.load(tensor)
        except (ValueError, TypeError) as error:
            raise BadFile(f"{self.path}: constant {tensor.name!r} cannot be read: {error}") from error


def read(path: str | Path, *, size: int | None = None) -> Graph:
    """The graph of a .tflite or .onnx file; the suffix says which.

    A dynamic batch is taken as 1, other sizes that are left open as `size`. Raises BadFile for a file
    that is missing, damaged or of another kind, UsageError where a size is open and none is given.
    """
    path = Path(path)
    if path.suffix.lower() == ".tflite":
        from edgecls.graph import tflite as reader
    elif path.suffix.lower() == ".onnx":
        from edgecls.graph import onnx as reader
    else:
        raise BadFile(f"{path}: expected the name of a .tflite or .onnx file")
    return reader.read(path, map_file(path), size)


def map_file(path: Path) -> mmap.mmap:
    """The bytes of a file, mapped, not read. Raises BadFile."""
    try:
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:  # mmap's for an empty file
        raise BadFile(f"{path} is empty") from error
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}") from error


def bits(dtype: str) -> int:
    """Bits of one element: the first number in the name, 8 for bool."""
    width = re.search(r"\d+", dtype)
    if not width and dtype != "bool":
        raise ValueError(f"elements of type {dtype} have no fixed size")
    return int(width[0]) if width else 8


def fix_sizes(
    path: Path, name: str, sizes: tuple[int | None, ...], size: int | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(shape with an open batch as 1 and others as `size`, open axes) of an input whose open sizes are None.

    Raises UsageError where another size than the batch is open, and there is no `size`.
    """
    open_axes = tuple(axis for axis, length in enumerate(sizes) if length is None)
    if size is None and any(axis > 0 for axis in open_axes):
        shown = ", ".join("?" if length is None else str(length) for length in sizes)
        raise UsageError(
            f"{path}: input {name!r} of shape ({shown}) leaves more than its batch open; "
            "export it with a fixed size"
        )
    closed = [size if length is None else length for length in sizes]
    closed[:1] = [1 if length is None else length for length in sizes[:1]]
    return tuple(closed), open_axes
