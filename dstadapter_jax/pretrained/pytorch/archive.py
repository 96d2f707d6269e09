"""Entries of the zip archives that PyTorch writes, memory-mapped.

PyTorch stores entries uncompressed, so that each is a range of bytes in the file. The standard
library's `zipfile` hides these ranges and bounds neither the number of entries nor their overlap.
"""

import struct
from typing import NamedTuple

import numpy as np

MAX_DIRECTORY_BYTES = 2**24  # ViT-L/14 with its optimizer's state takes 0.3 MB
_END = b"PK\x05\x06"
_END_64_LOCATOR = b"PK\x06\x07"
_END_64 = b"PK\x06\x06"
_ENTRY = b"PK\x01\x02"
_LOCAL = b"PK\x03\x04"
_IN_EXTRA = 0xFFFFFFFF  # a 32-bit field whose value stands in the zip64 extra field
_ZIP64 = 1  # id of that extra field


class _Entry(NamedTuple):
    """One row of the archive's directory."""

    name: str
    compressed: bool
    size: int  # bytes in the file
    header: int  # offset of the local header


class Archive:
    """An uncompressed zip archive.

    Attributes:
        folder: Name of the folder that holds all entries.
        names: Names of the entries below that folder.
    """

    def __init__(self, content: np.ndarray):
        """Read the directory.

        Args:
            content: The file's bytes `(n,)` uint8, memory-mapped.

        Raises:
            ValueError: The file is truncated or is not a zip archive as PyTorch writes them.
        """
        self._content = content
        count, size, self._data_end = _end_of_directory(content)
        if size > MAX_DIRECTORY_BYTES or self._data_end + size > len(content):
            raise ValueError(
                f"its directory claims {size:,} bytes, more than the file or the limit"
            )
        directory = content[self._data_end : self._data_end + size].tobytes()
        entries = _parse_directory(directory, count)
        _check_overlap(entries)
        self._entries = {entry.name: entry for entry in entries}
        if len(self._entries) < count:
            raise ValueError("its directory lists an entry twice")
        self.folder = next(iter(self._entries), "").partition("/")[0]
        prefix = f"{self.folder}/"
        self.names = {n.removeprefix(prefix) for n in self._entries if n.startswith(prefix)}

    def read(self, name: str) -> np.ndarray:
        """Return the bytes `(n,)` uint8 of an entry, a view of the file.

        Raises:
            ValueError: The entry is missing, compressed, or outside the file.
        """
        entry = self._entries.get(f"{self.folder}/{name}")
        if entry is None:
            raise ValueError(f"the entry {name} is missing")
        if entry.compressed:
            raise ValueError(f"the entry {name} is compressed, which PyTorch does not do")
        local = self._content[entry.header : entry.header + 30].tobytes()
        if len(local) < 30 or local[:4] != _LOCAL:
            raise ValueError(f"the entry {name} has no header")
        start = entry.header + 30 + sum(struct.unpack_from("<HH", local, 26))
        if start + entry.size > self._data_end:
            raise ValueError(f"the entry {name} ends behind the data")
        return self._content[start : start + entry.size]


def _end_of_directory(content: np.ndarray) -> tuple[int, int, int]:
    """Number of entries, size in bytes and offset of the directory."""
    tail = content[-42:].tobytes()
    end = tail[-22:]
    if len(tail) < 22 or end[:4] != _END or end[20:] != bytes(2):
        raise ValueError("the end of the archive is missing")
    if tail[:4] != _END_64_LOCATOR:
        return struct.unpack_from("<HII", end, 10)
    (offset,) = struct.unpack_from("<Q", tail, 8)
    record = content[offset : offset + 56].tobytes()
    if len(record) < 56 or record[:4] != _END_64:
        raise ValueError("the end of the archive is damaged")
    return struct.unpack_from("<QQQ", record, 32)


def _parse_directory(directory: bytes, count: int) -> list[_Entry]:
    entries, offset = [], 0
    while offset < len(directory):
        if directory[offset : offset + 4] != _ENTRY or offset + 46 > len(directory):
            raise ValueError("its directory is damaged")
        flags, method = struct.unpack_from("<HH", directory, offset + 8)
        stored, size, name, extra, comment = struct.unpack_from("<IIHHH", directory, offset + 20)
        (header,) = struct.unpack_from("<I", directory, offset + 42)
        name_end = offset + 46 + name
        size, stored, header = _wide_fields(
            (size, stored, header), directory[name_end : name_end + extra]
        )
        text = directory[offset + 46 : name_end].decode("utf-8", "replace")
        entries.append(_Entry(text, bool(method or flags & 1 or size != stored), stored, header))
        offset = name_end + extra + comment
    if len(entries) != count:
        raise ValueError(f"its directory has {len(entries)} of {count} entries")
    return entries


def _wide_fields(fields: tuple[int, ...], extra: bytes) -> tuple[int, ...]:
    """Replace 32-bit fields that overflow by the 64-bit ones of the extra field."""
    wide = iter(())
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == _ZIP64:
            wide = (value for (value,) in struct.iter_unpack("<Q", extra[4 : 4 + size // 8 * 8]))
        extra = extra[4 + size :]
    return tuple(next(wide, field) if field == _IN_EXTRA else field for field in fields)


def _check_overlap(entries: list[_Entry]) -> None:
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header):
        if entry.header < end:
            raise ValueError(f"the entry {entry.name[:100]!r} overlaps with another")
        end = entry.header + 30 + entry.size
