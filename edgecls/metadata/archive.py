"""The zip of files behind a model."""

from __future__ import annotations

import mmap
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from typing import IO

#: What is in a zip may be so many times larger than the file it is in.
_EXPANSION = 100
#: When files in the zip were written: the same every time.
_WRITTEN = (1980, 1, 1, 0, 0, 0)

#: What a zip that is damaged, encrypted, or none at all can lead to.
_ERRORS = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, ArithmeticError, struct.error)


class Zip:
    """The zip behind a model, from byte `start` on; without files where there is none."""

    def __init__(self, data: mmap.mmap):
        self.data, self.start, self.zip = data, len(data), None
        try:
            found = zipfile.ZipFile(data)
            start = min((info.header_offset for info in found.infolist()), default=len(data))
            if data[start : start + 4] == b"PK\3\4":
                self.zip, self.start = found, start
        except _ERRORS:
            pass  # bytes that look like one; files that the metadata lists are missed when they are read
        self.names = self.zip.namelist() if self.zip else []

    def content(self, name: str, longest: int) -> bytes:
        if name not in self.names:
            raise ValueError(f"its metadata lists a file {name!r} that is not there")
        try:
            info = self.zip.getinfo(name)
            if info.file_size > longest:
                raise ValueError(f"its file {name!r} has {info.file_size:,} bytes")
            return self.zip.read(info)
        except _ERRORS as error:
            raise ValueError(f"its file {name!r} cannot be read: {error}") from error

    def copy(self, file: IO[bytes], own: Mapping[str, bytes], without: Collection[str]) -> None:
        """Write the zip to the end of `file`, with `own` files in place of or beside those that are there."""
        gone = {*own, *without}
        kept = [self.zip.getinfo(name) for name in dict.fromkeys(self.names) if name not in gone]
        if not kept and not own:
            return
        with zipfile.ZipFile(file, "w") as target:  # positions are counted from the beginning of the file
            for info in kept:
                target.writestr(info, self.content(info.filename, _EXPANSION * len(self.data)))
            for name, content in own.items():
                info = zipfile.ZipInfo(name, _WRITTEN)  # stored: readers on phones take it as it lies there
                info.create_system, info.external_attr = 3, 0o644 << 16
                target.writestr(info, content)
