"""Files of safetensors: eight bytes of length, so much JSON, then the bytes of the tensors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edgecls import mapped
from edgecls.errors import BadFile
from edgecls.text import printable

_DTYPES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}

#: Longest header, bytes: the limit of the format's own library.
_HEADER = 100_000_000


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Every tensor by its name: views of the file, not to be written to. bfloat16 becomes float32.

    Raises BadFile where it is no such file or claims more than it has.
    """
    path = Path(path)
    try:
        data = mapped.open_file(path)
        length = int(mapped.array(data, 0, (), "uint64"))
        if length > _HEADER:
            raise ValueError(f"its header claims {length:,} bytes")
        header = json.loads(mapped.array(data, 8, (length,), "uint8").tobytes())
        header.pop("__metadata__", None)
        return {name: _array(data, 8 + length, name, **entry) for name, entry in header.items()}
    except (ValueError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise BadFile(f"{path.name} cannot be read as safetensors: {printable(str(error))}") from error


def _array(data, start, name, *, dtype, shape, data_offsets):
    if dtype not in _DTYPES:
        raise ValueError(f"{name} is of type {dtype}; known are {', '.join(_DTYPES)}")
    first, end = data_offsets
    found = mapped.array(data, start + first, shape, _DTYPES[dtype])
    if first < 0 or found.size * mapped.itemsize(_DTYPES[dtype]) != end - first:
        raise ValueError(f"{name} of shape {tuple(shape)} lies in the bytes {first:,} to {end:,}")
    return found
