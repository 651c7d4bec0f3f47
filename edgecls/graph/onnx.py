"""Reading .onnx protobufs."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx.shape_inference import InferenceError

from edgecls.errors import BadFile
from edgecls.graph import Graph, Op, Tensor, bits, fix_sizes, map_file, shapes
from edgecls.graph.skim import skim

DTYPES = {
    code: helper.tensor_dtype_to_np_dtype(code).name
    for code in TensorProto.DataType.values()
    if code not in (TensorProto.UNDEFINED, TensorProto.STRING)
} | {TensorProto.UNDEFINED: "unknown", TensorProto.STRING: "string"}


def read(path: Path, data: mmap.mmap, size: int | None) -> Graph:
    """See `graph.read`."""
    try:
        model = onnx.ModelProto.FromString(skim(data, path.name))
    except (ValueError, DecodeError) as error:
        raise BadFile(f"{path} is not an ONNX model, or damaged or cut short ({error})") from error
    if not (model.ir_version and model.opset_import and model.graph.output):
        raise BadFile(f"{path} is not an ONNX model, or cut short: it has no version, operator set or output")
    try:
        return _Reader(path, data, model).graph(size)
    except (InferenceError, LookupError, ValueError, TypeError) as error:
        raise BadFile(f"{path} is damaged or cut short ({str(error).splitlines()[0]})") from error


class _Reader:
    def __init__(self, path: Path, data: mmap.mmap, model: onnx.ModelProto):
        self.path, self.model = path, model
        self.files = {path.name: data}
        nodes = list(model.graph.node)
        del model.graph.node[:]
        for node in nodes:
            if node.op_type == "Constant":
                model.graph.initializer.append(_constant(node))
            else:
                model.graph.node.append(node)
        self.constants = {proto.name: proto for proto in model.graph.initializer}

    def graph(self, size: int | None) -> Graph:
        nodes = self.model.graph.node
        given = [value for value in self.model.graph.input if value.name not in self.constants]
        dynamic = {value.name: axes for value in given if (axes := self._fix_sizes(value, size))}
        self._sort({value.name for value in given})
        tensors = {name: self._constant_tensor(name, proto) for name, proto in self.constants.items()}
        types = shapes.infer(self.model)
        computed = (name for node in nodes for name in node.output if name)
        for name in (*(value.name for value in given), *computed):
            kind = types.get(name, onnx.TypeProto())
            tensors[name] = Tensor(name, shapes.closed_shape(kind), DTYPES[kind.tensor_type.elem_type])
        opset = [opset.version for opset in self.model.opset_import if opset.domain in ("", "ai.onnx")]
        return Graph(
            path=self.path,
            format="onnx",
            inputs=tuple(tensors[value.name] for value in given),
            outputs=tuple(tensors[value.name] for value in self.model.graph.output),
            tensors=tensors,
            ops=tuple(_op(index, node, tensors) for index, node in enumerate(nodes)),
            dynamic=dynamic,
            subgraphs=1 + sum(a.HasField("g") + len(a.graphs) for node in nodes for a in node.attribute),
            metadata={
                "ir_version": self.model.ir_version,
                "opset": max(opset, default=0),
                "producer": f"{self.model.producer_name} {self.model.producer_version}".strip(),
            },
            load=self._load,
        )

    def _fix_sizes(self, value: ValueInfoProto, size: int | None) -> tuple[int, ...]:
        """Write sizes into an input that leaves them open; returns the open axes."""
        dims = value.type.tensor_type.shape.dim
        shape, axes = fix_sizes(self.path, value.name, tuple(shapes.size_of(dim) for dim in dims), size)
        for dim, length in zip(dims, shape, strict=True):
            dim.dim_value = length
        return axes

    def _sort(self, inputs: set[str]) -> None:
        """Put each node behind those it reads, as runtimes do, and else leave the file's order."""
        nodes, ready = self.model.graph.node, []
        written, waiting = inputs | self.constants.keys(), list(nodes)
        while waiting:
            behind = []
            for node in waiting:
                if all(name in written for name in node.input if name):
                    written.update(node.output)
                    ready.append(node)
                else:
                    behind.append(node)
            if len(behind) == len(waiting):
                missing = next(name for name in waiting[0].input if name and name not in written)
                first = f"{waiting[0].op_type} {waiting[0].name!r}"
                raise ValueError(f"{first} reads {missing!r}, which nothing before it can write")
            waiting = behind
        del nodes[:]
        nodes.extend(ready)

    def _constant_tensor(self, name: str, proto: TensorProto) -> Tensor:
        tensor = Tensor(name, tuple(proto.dims), DTYPES[proto.data_type], storage=name)
        where = _place(proto)
        if where.get("location") == self.path.name and int(where["length"]) != tensor.nbytes:
            raise ValueError(f"{name!r} needs {tensor.nbytes} bytes and has {where['length']}")
        return tensor

    def _load(self, tensor: Tensor) -> np.ndarray:
        proto = self.constants[tensor.storage]
        where = _place(proto)
        if not where:
            return numpy_helper.to_array(proto)
        if bits(tensor.dtype) < 8:
            raise ValueError(f"{tensor.dtype} is packed")
        location = where["location"]
        if location not in self.files:
            self.files[location] = map_file(self.path.parent / location)
        dtype = helper.tensor_dtype_to_np_dtype(proto.data_type)
        start = int(where.get("offset", 0))
        return np.frombuffer(self.files[location], dtype, tensor.elements, start).reshape(tensor.shape)


def _op(index: int, node: NodeProto, tensors: Mapping[str, Tensor]) -> Op:
    outputs = tuple(tensors[name] for name in node.output if name)
    return Op(
        index=index,
        kind=shapes.kind_of(node),
        name=node.name or outputs[0].name,
        inputs=tuple(tensors[name] if name else None for name in node.input),
        outputs=outputs,
        attributes={attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute},
        custom=node.domain not in ("", "ai.onnx") and not node.domain.startswith("com.microsoft"),
    )


def _constant(node: NodeProto) -> TensorProto:
    """The value of a Constant node, whichever attribute holds it."""
    value = helper.get_attribute_value(node.attribute[0])
    if not isinstance(value, TensorProto):
        integral = node.attribute[0].type in (AttributeProto.INT, AttributeProto.INTS)
        value = numpy_helper.from_array(np.asarray(value, np.int64 if integral else np.float32))
    value.name = node.output[0]
    return value


def _place(proto: TensorProto) -> dict[str, str]:
    """location, offset and length of data kept outside the proto; empty where it is inside."""
    if proto.data_location != TensorProto.EXTERNAL:
        return {}
    return {entry.key: entry.value for entry in proto.external_data}
