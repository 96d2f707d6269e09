"""Check of Matroska and WebM files for missing parts.

FFmpeg reads a file that was cut off, or has foreign bytes within, without an error and omits
frames. The duration in the header can't show it: browsers write the time of the recording there,
not that of the frames.
"""

import os
from typing import BinaryIO, NamedTuple

# These consist of other elements. Files that were written live don't give their sizes.
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_MAX_HEADER = 12  # bytes of an element's id and size


def find_problem(file: BinaryIO) -> str:
    """Describe a missing or foreign part of a file; '' if all elements (RFC 8794) are whole."""
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    problem = _find_problem(file, size)
    file.seek(position)
    return problem


def _find_problem(file: BinaryIO, file_size: int) -> str:
    end = file_size  # of the segment; other bytes may follow it
    while (start := file.tell()) < end:
        element, size = _read_number(file), _read_number(file)
        if element is None or size is None:
            if file_size - start < _MAX_HEADER:
                return ""  # as below
            return f"is damaged: byte {start:,} is not the start of a Matroska element"
        if not size.is_unknown and file.tell() + size.value > file_size:
            # Browsers end recordings with the header, or a part of it, of a frame that never came.
            in_live_file = end == file_size and element.with_marker != _SEGMENT
            if in_live_file and file.tell() == file_size:
                return ""
            return "is truncated: its last part is missing"
        if element.with_marker == _SEGMENT and not size.is_unknown:
            end = file.tell() + size.value
        if element.with_marker not in (_SEGMENT, _CLUSTER):
            file.seek(size.value, os.SEEK_CUR)
    return ""


class _Number(NamedTuple):
    """A number of variable length: a marker bit, whose place gives the length, and its value."""

    with_marker: int
    value: int
    is_unknown: bool


def _read_number(file: BinaryIO) -> _Number | None:
    """Read a number; None if it is invalid or cut off."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    if len(rest) < length - 1:
        return None
    number, mask = int.from_bytes(first + rest), (1 << 7 * length) - 1
    return _Number(number, number & mask, number & mask == mask)
