"""Arrays that lie in a file, as views of it: memory and time are taken where values are used.

Every position and length that a file claims is checked against the file before it is used.
"""

from __future__ import annotations

import math
import mmap
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgecls.fetch import open_zipped

#: numpy's type for each of torch's. It has none for bfloat16, which becomes float32, exactly.
_NUMPY = {
    **{name: name for name in ("float64", "float32", "float16", "bool")},
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "bfloat16": "uint16",
}
DTYPES = tuple(_NUMPY)

#: What is compressed may become so many times larger.
EXPANSION = 100


def open_file(path: Path) -> mmap.mmap:
    """The bytes of a file, read-only. Raises OSError, and ValueError where there are none."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def open_zipped_file(path: Path) -> mmap.mmap:
    """The bytes of the one file in a .zip. Raises OSError, ValueError, zipfile.BadZipFile."""
    limit = EXPANSION * path.stat().st_size
    with open_zipped(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"what is in it is more than {EXPANSION} times larger than it")
    data = mmap.mmap(-1, len(content))
    data.write(content)
    data.seek(0)
    return data


def itemsize(dtype: str) -> int:
    """Bytes of one value of `dtype`, one of `DTYPES`."""
    return np.dtype(_NUMPY[dtype]).itemsize


def array(
    data: mmap.mmap | bytes | np.ndarray, start: int, shape: Sequence[int], dtype: str, *, order: str = "<"
) -> np.ndarray:
    """The array of `shape` at byte `start` of `data`: a view, but a copy of bfloat16.

    dtype: one of `DTYPES`. order: of bytes, "<" little or ">" big endian.
    Raises ValueError where the array would not lie inside `data`.
    """
    size, there = math.prod(shape) * itemsize(dtype), memoryview(data).nbytes
    if min((start, *shape)) < 0 or start + size > there:
        raise ValueError(f"claims {size:,} bytes from byte {start:,} on, of {there:,}")
    values = np.frombuffer(data, np.dtype(_NUMPY[dtype]).newbyteorder(order), math.prod(shape), start)
    if dtype == "bfloat16":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.reshape(shape)


def member(data: mmap.mmap, info: zipfile.ZipInfo) -> np.ndarray:
    """The bytes of a zip archive's uncompressed member where they lie in `data` (APPNOTE.TXT, 4.3.7).

    Raises ValueError where it is compressed, which those who write weights never do, or damaged.
    """
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed; unpack it and zip it with -0")
    name_and_extra = array(data, info.header_offset + 26, (2,), "uint16")
    found = array(data, info.header_offset + 30 + int(name_and_extra.sum()), (info.file_size,), "uint8")
    if zlib.crc32(found) != info.CRC:
        raise ValueError(f"{info.filename} is damaged: its checksum is another")
    return found
