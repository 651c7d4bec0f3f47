"""PyTorch's files, read without PyTorch and without running what is in them.

`torch.save` writes one of two formats. Since 1.6 it is a zip archive: `data.pkl`, a pickle whose
persistent ids name storages; each storage as an uncompressed member `data/<key>`; `byteorder`. Before,
it was a row of pickles (a magic number, a version, facts of the machine, the value, the keys of its
storages) and then of each storage its length and its values, little endian. In both a tensor is a view
of a storage: an offset, sizes and strides, in elements.
"""

from __future__ import annotations

import functools
import io
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecls import mapped, plain_pickle
from edgecls.errors import BadFile
from edgecls.plain_pickle import Name
from edgecls.text import printable

#: Keys under which checkpoints keep weights; the first that is there is taken. It is timm's rule, which
#: prefers the moving average, and then what others call the two.
STATE_DICTS = ("state_dict_ema", "model_ema", "ema", "state_dict", "model", "model_state", "module")

_ADVICE = "where it is trusted, save its weights alone: torch.save(model.state_dict(), 'weights.pth')"

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C

_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


@dataclass(frozen=True)
class _Storage:
    """count: of elements of type `dtype`, or of bytes where each tensor says the type."""

    key: str
    dtype: str | None
    count: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.count * (mapped.itemsize(self.dtype) if self.dtype else 1)


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage as elements of type `dtype`, which offset and strides count."""

    storage: _Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


#: A value with tensors in it; a function from a storage to its bytes; the order of these, "<" or ">".
_Content = tuple[Any, Callable[[_Storage], np.ndarray], str]


def read(path: str | Path) -> tuple[dict[str, np.ndarray], str]:
    """The state dict in a file of torch.save, or in a .zip of one, and where in the file it was found.

    The place is "" where the file is a state dict, else the keys that lead to it, "model_ema" or
    "ema.module": of several the first of `STATE_DICTS`. Values that are no tensors are left out. Arrays
    are views of the file, not to be written to; bfloat16 becomes float32.
    Raises BadFile where it is no file of torch.save, is damaged, or holds anything but tensors and
    plain values in plain containers.
    """
    path = Path(path)
    try:
        data = mapped.open_zipped_file(path) if path.suffix.lower() == ".zip" else mapped.open_file(path)
        value, locate, order = _archive(data) if data[:4] == b"PK\3\4" else _stream(data)
        state, place = _state_dict(value)

        @functools.cache
        def elements(storage, dtype):
            count = storage.size // mapped.itemsize(dtype)
            return mapped.array(locate(storage), 0, (count,), dtype, order=order)

        return {name: _view(name, tensor, elements) for name, tensor in state.items()}, place
    except plain_pickle.Refused as error:
        reason = printable(str(error))
        raise BadFile(f"{path.name} holds more than tensors, edgecls {reason}; {_ADVICE}") from error
    except (ValueError, TypeError, OverflowError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        reason = printable(str(error))
        raise BadFile(f"{path.name} cannot be read as a file of torch.save: {reason}") from error


def _archive(data) -> _Content:
    with zipfile.ZipFile(data) as archive:
        members = {member.filename: member for member in archive.infolist()}
    pickles = [name for name in members if name.partition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise ValueError("no data.pkl is in it")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in members:
        raise ValueError(f"it is a TorchScript program; {_ADVICE}")

    @functools.cache
    def content(name):
        if folder + name not in members:
            raise ValueError(f"{name} is missing")
        return mapped.member(data, members[folder + name])

    def locate(storage):
        found = content(f"data/{storage.key}")
        if len(found) != storage.size:
            raise ValueError(f"storage {storage.key} claims {storage.size:,} bytes and has {len(found):,}")
        return found

    value = plain_pickle.load(io.BytesIO(content("data.pkl")), _KNOWN, _storage)
    byteorder = content("byteorder").tobytes() if f"{folder}byteorder" in members else b"little"
    if byteorder not in (b"little", b"big"):
        raise ValueError(f"its byte order is {byteorder!r}")
    return value, locate, ">" if byteorder == b"big" else "<"


def _stream(data) -> _Content:
    def plain():
        return plain_pickle.load(data, {}, _no_storage)

    start = bytes(data[:20])
    if not start.startswith(b"\x80") or plain() != _MAGIC_NUMBER:
        raise ValueError(f"it begins with {start!r}")
    plain()  # the version, which has always been 1001
    plain()  # the machine: its byte order, but storages are little endian everywhere
    storages: dict[str, _Storage] = {}

    def storage(persistent_id):
        found = _storage(persistent_id)
        if storages.setdefault(found.key, found) != found:
            raise ValueError(f"storage {found.key} has two sizes")
        return found

    value = plain_pickle.load(data, _KNOWN, storage)
    places = {}
    keys = plain()
    position = data.tell()
    for key in keys:
        if key not in storages:
            raise ValueError("it has storages that nothing uses")
        count = int(mapped.array(data, position, (), "int64"))
        if count != storages[key].count:
            raise ValueError(f"storage {key} claims {storages[key].count:,} elements and has {count:,}")
        places[key] = mapped.array(data, position + 8, (storages[key].size,), "uint8")
        position += 8 + storages[key].size
    if missing := storages.keys() - places.keys():
        raise ValueError(f"storage {min(missing)} is missing")
    return value, lambda storage: places[storage.key], "<"


def _no_storage(_):
    raise ValueError("a storage stands where none can be")


def _storage(persistent_id) -> _Storage:
    """Of ("storage", class, key, device, count), in the older format with a sixth entry, None."""
    match persistent_id:
        case ("module", Name(dotted), *_):
            raise plain_pickle.Refused(dotted)
        case ("storage", Name(dotted), str(key), str(), int(count), *view) if count >= 0 and not any(view):
            return _Storage(key, _STORAGES.get(dotted.rpartition(".")[2]), count)
    raise ValueError("it has an unknown kind of storage")


def _tensor(storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None, *, dtype=None):
    if metadata:  # it is the negative or the conjugate of what is stored
        raise plain_pickle.Refused("a tensor that is a lazy view")
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("it has a tensor of wrong sizes")
    dtype = storage.dtype or dtype.dotted.removeprefix("torch.")
    if dtype not in mapped.DTYPES:
        raise ValueError(f"it has a tensor of type {dtype}")
    return _Tensor(storage, dtype, offset, shape, strides)


def _tensor_of_type(storage, offset, shape, strides, requires_grad, hooks, dtype, metadata=None):
    return _tensor(storage, offset, shape, strides, metadata=metadata, dtype=dtype)


#: What a checkpoint may name, and what stands for a call of it. Nobody reads the containers of plain
#: values that optimizers and schedulers keep, so that they may stay empty.
_KNOWN: dict[str, Callable[..., Any] | None] = {
    **{f"torch.{name}": None for name in (*_STORAGES, *mapped.DTYPES)},
    **{f"torch.cuda.{name}": None for name in _STORAGES},
    "torch.storage.UntypedStorage": None,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_type,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "torch.nn.parameter.Parameter": lambda tensor, *_: tensor,
    "torch.Size": lambda sizes: sizes,
    "torch.device": lambda *_: None,
    "collections.OrderedDict": lambda items=(): {plain_pickle.check_key(key): value for key, value in items},
    "collections.defaultdict": lambda *_: {},
    "collections.Counter": lambda *_: {},
    "builtins.set": lambda *_: None,
    **{f"builtins.{kind}": None for kind in ("dict", "list", "int", "float")},
}


def _state_dict(value) -> tuple[dict[str, _Tensor], str]:
    """The tensors of a checkpoint by name, and where in it they were."""
    place = []
    while isinstance(value, dict) and len(place) < 3:
        key = next((key for key in STATE_DICTS if isinstance(value.get(key), dict)), None)
        if key is None:
            break
        place.append(key)
        value = value[key]
    if not isinstance(value, dict):
        raise ValueError(f"expected a state dict in it, got a {type(value).__name__}")
    found = {str(name): tensor for name, tensor in value.items() if isinstance(tensor, _Tensor)}
    if not found:
        keys = ", ".join(str(key)[:40] for key in [*value][:5]) or "nothing"
        raise ValueError(f"it has no tensors, nor a dictionary {', '.join(STATE_DICTS)}, but {keys}")
    return found, ".".join(place)


def _view(name, tensor, elements) -> np.ndarray:
    values = elements(tensor.storage, tensor.dtype)
    count = math.prod(tensor.shape)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if count and max(last + 1, count) > len(values):
        raise ValueError(f"{name} of shape {tensor.shape} is larger than what is stored of it")
    strides = [stride * values.itemsize for stride in tensor.strides]
    start = values[tensor.offset :] if count else values[:0]
    return np.lib.stride_tricks.as_strided(start, tensor.shape, strides, writeable=False)
