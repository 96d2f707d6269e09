"""Files that end too early, in containers of which FFmpeg reads the rest without an error."""

import os
from typing import BinaryIO

from dstadapter_jax.data.video import matroska

_TRUNCATED = "is truncated: its last part is missing"
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # id of File Properties
_ASF_BROADCAST = 1  # flag of a live stream, whose size is unknown


def find_problem(container: str, file: BinaryIO) -> str:
    """Describe the missing part of a file, or ''.

    Args:
        container: FFmpeg's name of the container.
        file: The file; its position is kept.
    """
    if "matroska" in container:
        return matroska.find_problem(file)
    if container not in ("asf", "gif"):
        return ""
    position, size = file.tell(), file.seek(0, os.SEEK_END)
    file.seek(0)
    truncated = _is_asf_truncated(file, size) if container == "asf" else _is_gif_truncated(file)
    file.seek(position)
    return _TRUNCATED if truncated else ""


def _is_asf_truncated(file: BinaryIO, size: int) -> bool:
    """Whether a file is smaller than its header says (Advanced Systems Format, 3.2)."""
    header = file.read(100_000)
    start = header.find(_ASF_PROPERTIES)
    if start < 0:
        return False
    declared = int.from_bytes(header[start + 40 : start + 48], "little")
    flags = int.from_bytes(header[start + 88 : start + 92], "little")
    return not flags & _ASF_BROADCAST and size < declared


def _is_gif_truncated(file: BinaryIO) -> bool:
    """Whether a file ends before its trailer (GIF89a, appendix A)."""
    screen = file.read(13)
    _skip_color_table(file, screen[10:11])
    while kind := file.read(1):
        if kind == b"\x3b":  # trailer
            return False
        if kind == b"\x2c":  # image
            _skip_color_table(file, file.read(9)[8:])
            file.read(1)
        elif kind == b"\x21":  # extension
            file.read(1)
        else:
            return False  # foreign bytes: not known to be cut
        while (length := file.read(1)) and length != b"\0":
            file.seek(length[0], os.SEEK_CUR)
    return True


def _skip_color_table(file: BinaryIO, flags: bytes) -> None:
    if flags and flags[0] & 0x80:
        file.seek(3 * 2 ** ((flags[0] & 7) + 1), os.SEEK_CUR)
