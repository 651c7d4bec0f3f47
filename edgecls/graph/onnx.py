"""Reading .onnx protobufs: what the file says and, by shape inference, what it leaves out."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx.shape_inference import InferenceError, infer_shapes

from edgecls.errors import BadFile
from edgecls.graph import Graph, Op, Tensor, bits, fix_batch, map_file
from edgecls.graph.skim import skim

DTYPES = {
    code: helper.tensor_dtype_to_np_dtype(code).name
    for code in TensorProto.DataType.values()
    if code not in (TensorProto.UNDEFINED, TensorProto.STRING)
} | {TensorProto.UNDEFINED: "unknown", TensorProto.STRING: "string"}

#: Operators ONNX has no shape inference for: the one whose output has the same shape and type, and
#: which of the inputs to give it. ONNX Runtime's quantizer and optimizer write them.
STAND_INS: dict[str, tuple[str, tuple[int, ...] | slice]] = {
    "LayerNormalization": ("Identity", (0,)),  # before opset 17 it is ONNX Runtime's
    "com.microsoft.BiasGelu": ("Add", (0, 1)),
    "com.microsoft.DequantizeLinear": ("DequantizeLinear", (0, 1, 2)),
    "com.microsoft.FusedConv": ("Conv", (0, 1)),
    "com.microsoft.FusedGemm": ("Gemm", (0, 1)),
    "com.microsoft.FusedMatMul": ("MatMul", (0, 1)),
    "com.microsoft.Gelu": ("Identity", (0,)),
    "com.microsoft.QGemm": ("Gemm", (0, 3)),
    "com.microsoft.QLinearAdd": ("Add", (0, 3)),
    "com.microsoft.QLinearAveragePool": ("AveragePool", (0,)),
    "com.microsoft.QLinearConcat": ("Concat", slice(2, None, 3)),
    "com.microsoft.QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "com.microsoft.QLinearLeakyRelu": ("Identity", (0,)),
    "com.microsoft.QLinearMul": ("Mul", (0, 3)),
    "com.microsoft.QLinearSigmoid": ("Identity", (0,)),
    "com.microsoft.QLinearSoftmax": ("Identity", (0,)),
    "com.microsoft.QLinearWhere": ("Where", (0, 1, 4)),
    "com.microsoft.QuantizeLinear": ("QuantizeLinear", (0, 1, 2)),
    "com.microsoft.QuickGelu": ("Identity", (0,)),
    "com.microsoft.SkipLayerNormalization": ("Identity", (0,)),
}


def read(path: Path, data: mmap.mmap) -> Graph:
    """See `graph.read`."""
    try:
        model = onnx.ModelProto.FromString(skim(data, path.name))
    except (ValueError, DecodeError) as error:
        raise BadFile(f"{path} is not an ONNX model, or damaged or cut short ({error})") from error
    if not (model.ir_version and model.opset_import and model.graph.output):
        raise BadFile(f"{path} is not an ONNX model, or cut short: it has no version, operator set or output")
    try:
        return _Reader(path, data, model).graph()
    except (InferenceError, LookupError, ValueError, TypeError) as error:
        raise BadFile(f"{path} is damaged or cut short ({str(error).splitlines()[0]})") from error


class _Reader:
    def __init__(self, path: Path, data: mmap.mmap, model: onnx.ModelProto):
        self.path, self.model = path, model
        self.files = {path.name: data}
        self.constants = {proto.name: proto for proto in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = _constant(node)

    def graph(self) -> Graph:
        given = [value for value in self.model.graph.input if value.name not in self.constants]
        dynamic = {value.name: axes for value in given if (axes := self._fix_batch(value))}
        tensors = self._tensors()
        nodes = [node for node in self.model.graph.node if node.op_type != "Constant"]
        written = {value.name for value in given} | self.constants.keys()
        for node in nodes:
            for name in node.input:
                if name and name not in written:
                    raise BadFile(f"{self.path}: {_kind(node)} {node.name!r} reads {name!r}, which nothing before it writes")
            written.update(node.output)
        return Graph(
            path=self.path,
            format="onnx",
            inputs=tuple(tensors[value.name] for value in given),
            outputs=tuple(tensors[value.name] for value in self.model.graph.output),
            tensors=tensors,
            ops=tuple(_op(index, node, tensors) for index, node in enumerate(nodes)),
            dynamic=dynamic,
            subgraphs=1 + sum(len(_graphs(attribute)) for node in nodes for attribute in node.attribute),
            metadata={
                "ir_version": self.model.ir_version,
                "opset": max((o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx")), default=0),
                "producer": f"{self.model.producer_name} {self.model.producer_version}".strip(),
            },
            load=self._load,
        )
    def _tensors(self) -> dict[str, Tensor]:
        """Every tensor by name: constants by their protos, the others by shape inference."""
        found = {}
        for name, proto in self.constants.items():
            found[name] = Tensor(name, tuple(proto.dims), DTYPES[proto.data_type], storage=name)
            self._check_size(proto, found[name])
        inferred = infer_shapes(self._inferable(), data_prop=True).graph
        for value in (*inferred.input, *inferred.value_info, *inferred.output):
            if value.name not in found:
                kind = value.type.tensor_type
                found[value.name] = Tensor(value.name, _shape(value), DTYPES[kind.elem_type])
        for node in self.model.graph.node:
            for name in filter(None, node.output):
                found.setdefault(name, Tensor(name, None, "unknown"))
        return found

    def _inferable(self) -> onnx.ModelProto:
        """The model with stand-ins for what inference does not know, and without shapes left half open."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        graph = model.graph
        for node in graph.node:
            kind, choice = STAND_INS.get(_kind(node), (None, ()))
            if kind and not any(attribute.name == "channels_last" and attribute.i for attribute in node.attribute):
                inputs = list(node.input)
                chosen = inputs[choice] if isinstance(choice, slice) else [inputs[i] for i in choice if i < len(inputs)]
                node.op_type, node.domain = kind, ""
                del node.input[:], node.output[1:]
                node.input.extend(chosen)
        closed = [value for value in graph.value_info if _shape(value) is not None]
        del graph.value_info[:]
        graph.value_info.extend(closed)
        for value in graph.output:
            if _shape(value) is None:
                value.type.tensor_type.ClearField("shape")
        return model

    def _fix_batch(self, value: ValueInfoProto) -> tuple[int, ...]:
        """Write a batch of 1 into an input that leaves it open; returns the open axes."""
        dims = value.type.tensor_type.shape.dim
        shape, axes = fix_batch(self.path, value.name, tuple(_size(dim) for dim in dims))
        for dim, size in zip(dims, shape, strict=True):
            dim.dim_value = size
        return axes

    def _check_size(self, proto: TensorProto, tensor: Tensor) -> None:
        where = _place(proto)
        if where.get("location") == self.path.name and int(where["length"]) != tensor.nbytes:
            raise ValueError(f"{tensor.name!r} needs {tensor.nbytes} bytes and has {where['length']}")

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
        kind=_kind(node),
        name=node.name or outputs[0].name,
        inputs=tuple(tensors[name] if name else None for name in node.input),
        outputs=outputs,
        attributes={attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute},
        custom=bool(node.domain) and node.domain != "ai.onnx" and not node.domain.startswith("com.microsoft"),
    )


def _kind(node: NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _constant(node: NodeProto) -> TensorProto:
    """The value of a Constant node, whichever attribute holds it."""
    value = helper.get_attribute_value(node.attribute[0])
    if isinstance(value, TensorProto):
        return value
    integral = node.attribute[0].type in (AttributeProto.INT, AttributeProto.INTS)
    return numpy_helper.from_array(np.asarray(value, np.int64 if integral else np.float32))


def _place(proto: TensorProto) -> dict[str, str]:
    """location, offset and length of data kept outside the proto; empty where it is inside."""
    if proto.data_location != TensorProto.EXTERNAL:
        return {}
    return {entry.key: entry.value for entry in proto.external_data}


def _shape(value: ValueInfoProto) -> tuple[int, ...] | None:
    """None unless every size is known."""
    kind = value.type.tensor_type
    sizes = tuple(_size(dim) for dim in kind.shape.dim)
    return sizes if kind.HasField("shape") and None not in sizes else None


def _size(dim) -> int | None:
    return dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None


def _graphs(attribute: AttributeProto) -> list[GraphProto]:
    return [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
