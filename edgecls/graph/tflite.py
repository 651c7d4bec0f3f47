"""Reading .tflite flatbuffers with the schema's own accessors on the mapped bytes."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecls.errors import BadFile
from edgecls.graph import Graph, Op, Quantization, Tensor, fix_sizes

#: No kernel of TFLite takes a tensor of more axes.
MAX_RANK = 8


def _names(enumeration) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


BUILTINS = _names(schema.BuiltinOperator)
DTYPES = {value: name.lower() for value, name in _names(schema.TensorType).items()}
OPTIONS = _names(schema.BuiltinOptions)
OPTIONS_2 = _names(schema.BuiltinOptions2)


def read(path: Path, data: mmap.mmap, size: int | None) -> Graph:
    """See `graph.read`; the shapes inside a graph of open sizes are what the file says."""
    if data[4:8] != b"TFL3":
        raise BadFile(f"{path} is not a TFLite model: its bytes 4 to 7 should be b'TFL3', not {data[4:8]!r}")
    try:
        return _Reader(path, data).graph(size)
    except (struct.error, LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise BadFile(f"{path} is damaged or cut short ({error})") from error


class _Reader:
    """The accessors trust every offset and length, so each length is checked before it is looped over."""

    def __init__(self, path: Path, data: mmap.mmap):
        self.path, self.data = path, data
        self.model = schema.Model.GetRootAs(data)
        self.buffers = [self._bytes(self.model.Buffers(i)) for i in self._range(self.model.BuffersLength())]

    def graph(self, size: int | None) -> Graph:
        main = self.model.Subgraphs(0)
        count = main.TensorsLength()
        inputs, outputs = (_indices(found, count) for found in (main.InputsAsNumpy(), main.OutputsAsNumpy()))
        by_name: dict[str, Tensor] = {}
        dynamic = {}
        for index in self._range(count):
            record = main.Tensors(index)
            name = _text(record.Name()) or f"tensor {index}"
            if name in by_name:  # a name is only a label in this format
                name = f"{name}:{index}"
            shape = _sizes(record.ShapeAsNumpy())
            if index in inputs:
                sizes = _sizes(record.ShapeSignatureAsNumpy()) or shape
                shape, axes = fix_sizes(self.path, name, tuple(None if n < 0 else n for n in sizes), size)
                if axes:
                    dynamic[name] = axes
            by_name[name] = self._tensor(record, name, shape)
        tensors = list(by_name.values())
        return Graph(
            path=self.path,
            format="tflite",
            inputs=tuple(tensors[i] for i in inputs),
            outputs=tuple(tensors[i] for i in outputs),
            tensors=by_name,
            ops=tuple(self._op(i, main.Operators(i), tensors) for i in self._range(main.OperatorsLength())),
            dynamic=dynamic,
            subgraphs=self.model.SubgraphsLength(),
            metadata=self._metadata(),
            load=self._load,
        )

    def _tensor(self, record: schema.Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
        dtype, buffer, storage = DTYPES[record.Type()], self.buffers[record.Buffer()], None
        if record.ExternalBuffer():
            storage = ("another file", record.ExternalBuffer())
        elif len(buffer) or 0 in shape:
            storage = record.Buffer()
        known = all(size >= 0 for size in shape)
        tensor = Tensor(name, shape if known else None, dtype, storage, _quantization(record))
        if len(buffer) and dtype != "string" and not record.Sparsity() and len(buffer) < tensor.nbytes:
            raise ValueError(f"{name!r} needs {tensor.nbytes} bytes and has {len(buffer)}")
        return tensor

    def _op(self, index: int, record: schema.Operator, tensors: list[Tensor]) -> Op:
        code = self.model.OperatorCodes(_indices([record.OpcodeIndex()], self.model.OperatorCodesLength())[0])
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        custom = builtin == schema.BuiltinOperator.CUSTOM
        outputs = tuple(tensors[i] for i in _indices(record.OutputsAsNumpy(), len(tensors)))
        return Op(
            index=index,
            kind=_text(code.CustomCode()) if custom else BUILTINS.get(builtin, f"BUILTIN_{builtin}"),
            name=outputs[0].name if outputs else f"op {index}",
            inputs=tuple(
                None if i == -1 else tensors[i]
                for i in _indices(record.InputsAsNumpy(), len(tensors), optional=True)
            ),
            outputs=outputs,
            attributes=_options(record.BuiltinOptions(), OPTIONS.get(record.BuiltinOptionsType()))
            | _options(record.BuiltinOptions2(), OPTIONS_2.get(record.BuiltinOptions2Type())),
            custom=custom,
        )

    def _metadata(self) -> dict[str, str | int]:
        found = {"schema_version": self.model.Version(), "description": _text(self.model.Description())}
        for i in self._range(self.model.MetadataLength()):
            entry = self.model.Metadata(i)
            if entry.Name() == b"min_runtime_version":
                found["min_runtime_version"] = _text(self.buffers[entry.Buffer()].tobytes().rstrip(b"\0"))
        return found

    def _bytes(self, buffer: schema.Buffer) -> np.ndarray:
        """A buffer's data, in place: in the flatbuffer or, where that would pass 2 GB, behind it."""
        if buffer.Offset() > 1:
            return np.frombuffer(self.data, np.uint8, buffer.Size(), buffer.Offset())
        return buffer.DataAsNumpy() if buffer.DataLength() else np.empty(0, np.uint8)

    def _range(self, length: int) -> range:
        if 4 * length > len(self.data):
            raise ValueError(f"{length} entries cannot be in {len(self.data)} bytes")
        return range(length)

    def _load(self, tensor: Tensor) -> np.ndarray:
        if tensor.storage not in range(len(self.buffers)):
            raise ValueError("it is kept in another file")
        return self.buffers[tensor.storage].view(tensor.dtype).reshape(tensor.shape)


def _quantization(record: schema.Tensor) -> Quantization | None:
    found = record.Quantization()
    if found is None or not found.ScaleLength():
        return None
    scale = found.ScaleAsNumpy()
    zero_point = found.ZeroPointAsNumpy() if found.ZeroPointLength() else np.zeros(len(scale), np.int64)
    return Quantization(scale, zero_point, found.QuantizedDimension() if len(scale) > 1 else None)


def _options(table, name: str | None) -> dict:
    """The fields of an op's options table, by their names in the schema."""
    if table is None or name is None:
        return {}
    return dict(vars(getattr(schema, f"{name}T").InitFromBuf(table.Bytes, table.Pos)))


def _sizes(shape) -> tuple[int, ...]:
    """A shape as the accessors give it: an array, or 0 where the file has none."""
    sizes = tuple(np.atleast_1d(shape).tolist()) if np.ndim(shape) else ()
    if len(sizes) > MAX_RANK:
        raise ValueError(f"a tensor of {len(sizes)} axes")
    return sizes


def _indices(found, count: int, *, optional: bool = False) -> list[int]:
    """Checked indices of tensors; 0 where the file has none, -1 for an optional input left out."""
    indices = np.asarray(found).tolist() if np.ndim(found) else []
    for index in indices:
        if not (-1 if optional else 0) <= index < count:
            raise ValueError(f"reference {index} to one of {count}")
    return indices


def _text(name: bytes | None) -> str:
    return (name or b"").decode(errors="replace")
