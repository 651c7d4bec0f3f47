"""ONNX Runtime, the runtime of `.onnx` files, on the CPU."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from edgecls.artifact import TensorInfo
from edgecls.errors import BadFile, WorkFailed
from edgecls.runtimes import base

_PACKAGE = "onnxruntime"
_PROVIDER = "CPUExecutionProvider"
_CPU = Path("/proc/cpuinfo")
_RIGHT_ON_X86 = ("session.x64quantprecision", "1")
#: ONNX Runtime's names of element types where they differ from numpy's.
_DTYPES = {"float": "float32", "double": "float64"}


class Ort:
    name = "ort"
    format = "onnx"

    @property
    def version(self):
        return base.version(self.name, _PACKAGE)

    def load(self):
        return base.library(self.name, _PACKAGE, "onnxruntime")

    def open(self, path: Path, *, threads: int, size: int | None = None):
        onnxruntime = self.load()
        options = settings(onnxruntime, threads=threads)
        refusals = onnxruntime.capi.onnxruntime_pybind11_state
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=[_PROVIDER])
        except Exception as error:  # each of its errors is a child of Exception and of nothing else
            if isinstance(error, refusals.InvalidProtobuf) or "No graph was found" in str(error):
                raise BadFile(f"{str(path)!r} is not an ONNX model: {_reason(error)}") from error
            raise WorkFailed(f"ONNX Runtime refuses {path.name}: {_reason(error)}") from error
        return _Session(path, session, threads, size)


def settings(onnxruntime, *, threads: int):
    """SessionOptions. On x86 without VNNI int8 is computed rightly rather than fast.

    There ONNX Runtime adds products of uint8 and int8 in 16 bits, which overflow, unless told not to:
    on an emulated Haswell MobileNetV2 falls from 14 dB to 0.3. With VNNI the entry costs time for nothing.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; they are raised too
    if overflows(_CPU):
        options.add_session_config_entry(*_RIGHT_ON_X86)
    return options


@functools.cache
def overflows(cpu: Path) -> bool:
    """Whether a processor is of x86 and without VNNI, as the kernel tells it in `cpu`; not known otherwise."""
    try:
        lines = cpu.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    return "sse2" in flags and not flags & {"avx_vnni", "avx512_vnni"}


class _Session:
    def __init__(self, path, session, threads, size):
        self._file, self._session = path.name, session
        self.inputs = tuple(
            _info(tensor, base.closed(path, tensor.name, tensor.shape, size))
            for tensor in session.get_inputs()
        )
        self.outputs = tuple(_info(tensor, _output_shape(tensor.shape)) for tensor in session.get_outputs())
        self.options = {"providers": [_PROVIDER], "intra_op_num_threads": threads, "inter_op_num_threads": 1}
        if overflows(_CPU):
            self.options |= [_RIGHT_ON_X86]
        self.delegation = None
        self._binding = session.io_binding()
        for info in self.outputs:
            self._binding.bind_output(info.name)

    def set_inputs(self, values):
        for info, value in zip(self.inputs, values, strict=True):
            self._binding.bind_cpu_input(info.name, value)

    def invoke(self):
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # each of its errors is a child of Exception and of nothing else
            raise WorkFailed(f"ONNX Runtime failed to run {self._file}: {_reason(error)}") from error

    def results(self):
        return self._binding.copy_outputs_to_cpu()


def _info(tensor, shape) -> TensorInfo:
    element = tensor.type.removeprefix("tensor(").removesuffix(")")
    return TensorInfo(name=tensor.name, shape=shape, dtype=_DTYPES.get(element, element))


def _output_shape(shape) -> tuple[int, ...]:
    """An open first dimension is the batch of 1, another is -1."""
    sizes = [size if isinstance(size, int) else -1 for size in shape]
    sizes[:1] = [abs(size) for size in sizes[:1]]
    return tuple(sizes)


def _reason(error) -> str:
    """The message without its head: "[ONNXRuntimeError] : 1 : FAIL : Load model from ... failed:"."""
    message = " ".join(str(error).split())
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:\s*)?", "", message)
