"""Clips that are pictures: animated WebP, and folders of numbered pictures.

A folder is stored as a ZIP archive without compression, which is read like the folder.
"""

import functools
import io
import os
import pathlib
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
from PIL import Image

from dstadapter_jax.data.video.container import ClipError, VideoSource, blame, check_size
from dstadapter_jax.data.video.decoding import (
    DEFAULT_FPS,
    NO_FRAME,
    DecodedFrame,
    Frames,
    VideoInfo,
    resize,
)

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
_NUMBERED = re.compile(r"(.*?)(\d+)(\.\w+)", re.DOTALL)


def numbered_pictures(names: Sequence[str]) -> list[str]:
    """Names of numbered pictures, such as `img_00001.jpg`, in the order of their numbers.

    Empty unless all are pictures that differ in their number only.
    """
    matches = [_NUMBERED.fullmatch(name) for name in names]
    parts = [match.groups() for match in matches if match and _is_picture(match[0])]
    if len(parts) < len(names) or len({(stem, suffix.lower()) for stem, _, suffix in parts}) != 1:
        return []
    return [stem + number + suffix for stem, number, suffix in sorted(parts, key=_number)]


def _number(part: Sequence[str]) -> tuple[int, int, str]:
    # Python refuses to parse numbers of thousands of digits; these are sorted by length, then text.
    digits = part[1].lstrip("0")
    return len(digits), len(part[1]), digits + part[2]


def _is_picture(name: str) -> bool:
    return pathlib.PurePath(name).suffix.lower() in PICTURE_SUFFIXES


def pack_folder(folder: pathlib.Path) -> bytes:
    """A folder of numbered pictures as a ZIP archive; equal folders give equal bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in folder_pictures(folder):
            archive.writestr(zipfile.ZipInfo(name), (folder / name).read_bytes())
    return packed.getvalue()


def folder_pictures(folder: pathlib.Path) -> list[str]:
    """Names of the pictures of a folder, in order; empty if it is not a clip."""
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    return numbered_pictures([name for name in names if name.lower() != "thumbs.db"])


def open_pictures(source: VideoSource, name: str) -> Frames | None:
    """The frames of a clip of pictures; None for other files.

    Raises:
        ClipError: A folder holds other files than numbered pictures.
    """
    if not isinstance(source, bytes):
        path = pathlib.Path(source)
        if path.is_dir():
            names = folder_pictures(path)
            if not names:
                raise ClipError(
                    name, "is not a regular file, or a folder of numbered pictures only"
                )
            return PictureFrames(name, names, lambda one: (path / one).read_bytes())
    start = source[:12] if isinstance(source, bytes) else _first_bytes(source)
    if isinstance(source, bytes) and start.startswith(b"PK\x03\x04"):
        return _open_archive(source, name)
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        return WebPFrames(name, io.BytesIO(source) if isinstance(source, bytes) else source)
    return None


def _first_bytes(path: str | os.PathLike) -> bytes:
    if not os.path.isfile(path):  # other kinds are refused when they are opened
        return b""
    with open(path, "rb") as file:
        return file.read(12)


def _open_archive(data: bytes, name: str) -> Frames:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise ClipError(name, "is a damaged archive of pictures") from error
    names = numbered_pictures(archive.namelist())
    # Stored without compression: an archive can't unpack to more than its size.
    if not names or any(entry.compress_type or entry.flag_bits & 1 for entry in archive.filelist):
        raise ClipError(name, "is an archive, not a video: unpack it first")
    return PictureFrames(name, names, archive.read)


class PictureFrames:
    """Numbered pictures as frames of `DEFAULT_FPS`; later sizes are scaled to the first."""

    def __init__(self, name: str, pictures: Sequence[str], read: Callable[[str], bytes]):
        self.name, self._pictures, self._read = name, pictures, read
        self._size = (0, 0)
        self._sizes: set[tuple[int, int]] = set()

    def __iter__(self) -> Iterator[DecodedFrame]:
        for index, picture in enumerate(self._pictures):
            pixels = self._decode(picture)
            height, width = pixels.shape[:2]
            check_size(self.name, width, height)
            self._size = self._size if index else (width, height)
            self._sizes.add((width, height))
            if (width, height) != self._size:
                pixels = resize(pixels, *self._size)
            yield DecodedFrame(index / DEFAULT_FPS, functools.partial(np.asarray, pixels))

    def info(self) -> VideoInfo:
        """Properties of the clip, after the iteration."""
        width, height = self._size
        codec = pathlib.PurePath(self._pictures[0]).suffix[1:].lower()
        return VideoInfo(
            len(self._pictures), DEFAULT_FPS, height, width, codec, num_sizes=len(self._sizes)
        )

    def _decode(self, picture: str) -> np.ndarray:
        try:
            encoded = np.frombuffer(self._read(picture), np.uint8)
            pixels = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB) if encoded.size else None
        except (cv2.error, OSError, zipfile.BadZipFile) as error:
            raise ClipError(self.name, f"{picture}: can't be read ({error})") from error
        if pixels is None:
            raise ClipError(self.name, f"{picture}: not a picture, or damaged")
        return pixels


class WebPFrames:
    """The frames of an animated WebP, which FFmpeg does not decode."""

    def __init__(self, name: str, file: io.BytesIO | str | os.PathLike):
        self.name, self._file = name, file
        self._info: VideoInfo | None = None

    def __iter__(self) -> Iterator[DecodedFrame]:
        with blame(self.name), Image.open(self._file, formats=["WEBP"]) as image:
            yield from self._frames(image)

    def _frames(self, image: Image.Image) -> Iterator[DecodedFrame]:
        check_size(self.name, *image.size)
        num_frames, seconds = getattr(image, "n_frames", 1), 0.0
        if num_frames == 1:
            raise ClipError(self.name, f"{NO_FRAME}: it is one picture, not a video")
        for index in range(num_frames):
            image.seek(index)
            pixels = np.asarray(image.convert("RGB"))
            yield DecodedFrame(seconds, functools.partial(np.asarray, pixels))
            seconds += image.info.get("duration", 0) / 1000
        fps = num_frames / seconds if seconds else 0.0
        self._info = VideoInfo(num_frames, fps, image.height, image.width, "webp")

    def info(self) -> VideoInfo:
        """Properties of the clip, after the iteration."""
        assert self._info is not None
        return self._info
