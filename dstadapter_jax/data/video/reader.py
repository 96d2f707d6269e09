"""Video files to RGB frames.

PyAV is the default decoder; decord, with which the reference was trained, is the other one. Where
decord is correct, both give identical pixels, with two exceptions: 8-bit frames of odd height, and
the last bit of the inverse DCT in coarsely quantized MPEG-4 Part 2. decord 0.6 silently returns
wrong frames of open-GOP H.264, of MPEG-TS, and of MPEG-4 Part 2 with B-frames, and does not undo
mirroring. With decord, clips that it would decode differently are refused.

Frames are shown as FFmpeg shows them: those of the best video stream, with square pixels, of one
size, and of standard dynamic range.

Clips come from outside and are not trusted: only ordinary video containers are opened, a file can't
make FFmpeg open another file or an address, a frame's size is bounded, and whatever is wrong with a
clip is one `ClipError`. Every call opens its own decoder: call from as many threads as you like.
"""

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import BinaryIO

import numpy as np

from dstadapter_jax.data.video.container import (
    ClipError,
    VideoSource,
    blame,
    clip_name,
    open_clip,
    open_file,
)
from dstadapter_jax.data.video.decoding import DEFAULT_FPS, Frames, VideoFrames, VideoInfo
from dstadapter_jax.data.video.dynamic_range import SDR
from dstadapter_jax.data.video.pictures import PICTURE_SUFFIXES, open_pictures
from dstadapter_jax.errors import ConfigError

DECODERS = ("pyav", "decord")


@contextlib.contextmanager
def open_frames(
    source: VideoSource | BinaryIO, *, name: str | None = None, start: float = 0.0
) -> Iterator[Frames]:
    """Open a clip for one iteration over its frames.

    Args:
        source: A path, the encoded file's bytes, or a file.
        name: The clip's name in errors; its path if not given.
        start: Seconds since the first frame; frames of a video long before may be left out.

    Raises:
        ClipError: Anything inside the block fails to read or decode.
    """
    clip = clip_name(source, name)
    with blame(clip):
        pictures = None
        if isinstance(source, str | os.PathLike | bytes):
            pictures = open_pictures(source, clip)
    if pictures is not None:
        yield pictures
        return
    with open_clip(source, name) as opened:
        yield VideoFrames(opened, start)


def probe(
    source: VideoSource, *, max_frames: int | None = None, name: str | None = None
) -> VideoInfo:
    """Describe a clip by decoding all of it.

    Args:
        source: A path, or the encoded file's bytes.
        max_frames: Bound on the number of frames.
        name: The clip's name in errors; its path if not given.

    Raises:
        ClipError: The clip can't be read, is damaged or truncated, or has more frames.
    """
    with open_frames(source, name=name) as frames:
        for count, _ in enumerate(frames, 1):
            check_num_frames(frames.name, count, max_frames)
        return frames.info()


def check_num_frames(clip: str, num_frames: int, max_frames: int | None) -> None:
    """Raise ClipError if a clip has more frames than a bound."""
    if max_frames is not None and num_frames > max_frames:
        raise ClipError(clip, f"has more than {max_frames:,} frames: cut it to one sign")


def read_frames(
    source: VideoSource, indices: Sequence[int], *, decoder: str = "pyav", name: str | None = None
) -> np.ndarray:
    """Reads chosen frames of a clip, upright.

    Args:
        source: a path, or the encoded file's bytes.
        indices: frame numbers from 0 in the order they are shown; any order, repeats allowed.
        decoder: `pyav` or `decord`.
        name: what errors call the clip; its path if not given.

    Returns:
        (len(indices), height, width, 3) uint8 RGB, in the order asked.

    Raises:
        ClipError: the clip can't be read, or has no such frame.
        ValueError: no index, a negative one, or a decoder that is unknown or not installed.
    """
    check_decoder(decoder)
    indices = [int(index) for index in indices]
    if not indices or min(indices) < 0:
        raise ValueError(f"indices must be frame numbers from 0, at least one; got {indices}")
    return (_read_pyav if decoder == "pyav" else _read_decord)(source, indices, name)


def iter_frames(source: VideoSource, *, name: str | None = None) -> Iterator[np.ndarray]:
    """Yield every frame of a clip once, upright, as (height, width, 3) uint8 RGB.

    `name` is what errors call the clip, its path if not given. Raises `ClipError`, while
    iterating, if the clip can't be read.
    """
    for _, pixels in iter_timed_frames(source, name=name):
        yield pixels


def iter_timed_frames(
    source: VideoSource | BinaryIO, *, name: str | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Like `iter_frames`, each frame with its display time in seconds since the first frame.

    Times increase, even where a joined stream's own times go back. A file object is read without
    seeking.
    """
    with open_frames(source, name=name) as frames:
        offset, last, step = 0.0, 0.0, 1 / DEFAULT_FPS
        for index, frame in enumerate(frames):
            seconds = index * step if frame.seconds is None else frame.seconds
            if index and seconds + offset <= last:
                offset = last + step - seconds
            elif index and frame.seconds is not None:
                step = seconds + offset - last
            last = seconds + offset
            yield last, frame.pixels()


def _read_pyav(source: VideoSource, indices: list[int], name: str | None) -> np.ndarray:
    positions: dict[int, list[int]] = {}
    for position, index in enumerate(indices):
        positions.setdefault(index, []).append(position)
    last, num_frames = max(indices), 0
    with open_frames(source, name=name) as frames:
        for index, frame in enumerate(frames):
            num_frames += 1
            if index in positions:
                pixels = frame.pixels()
                if index == min(positions):
                    chosen = np.empty((len(indices), *pixels.shape), np.uint8)
                chosen[positions[index]] = pixels
            if index == last:
                return chosen
        raise ClipError(frames.name, _too_short(last, num_frames))


def _read_decord(source: VideoSource, indices: list[int], name: str | None) -> np.ndarray:
    decord = _import_decord()
    # PyAV first: it refuses files that decord would open without checks, and its count of frames is
    # exact, while decord estimates it.
    info, clip = probe(source, name=name), clip_name(source, name)
    if max(indices) >= info.num_frames:
        raise ClipError(clip, _too_short(max(indices), info.num_frames))
    if reason := _unlike_decord(info):
        raise ClipError(clip, f"decord would show it otherwise: {reason}; use the decoder pyav")
    try:
        # A file object: FFmpeg would take some paths, such as "concat:a|b", for more than a path.
        with blame(clip), open_file(source) as file:
            reader = decord.VideoReader(file, num_threads=1)
            if len(reader) != info.num_frames:
                problem = f"decord counts {len(reader)} frames, there are {info.num_frames}"
                raise ClipError(clip, f"{problem}; read it with the decoder pyav")
            return reader.get_batch(indices).asnumpy()
    except decord.DECORDError as error:
        problem = str(error).strip().partition("\n")[0]  # the rest is a C++ stack trace
        raise ClipError(clip, f"decord fails ({problem}); try the decoder pyav") from error


def _unlike_decord(info: VideoInfo) -> str:
    """Why decord would show a clip otherwise, or ''."""
    if f".{info.codec}" in (*PICTURE_SUFFIXES, ".gif", ".webp"):
        return "it is a clip of pictures"
    if info.pixel_aspect != "1:1":
        return f"its pixels have the aspect ratio {info.pixel_aspect}"
    if info.dynamic_range != SDR:
        return f"its dynamic range is {info.dynamic_range}"
    if info.num_sizes > 1:
        return "its frame size changes"
    return "it has several video streams" if info.num_streams > 1 else ""


def check_decoder(decoder: str) -> None:
    """Raises ConfigError if `decoder` is unknown, ValueError if it is not installed."""
    if decoder not in DECODERS:
        expected = f"one of {', '.join(DECODERS)}"
        raise ConfigError("config.data.decoder", expected=expected, found=repr(decoder))
    if decoder == "decord":
        _import_decord()


@functools.cache
def _import_decord() -> ModuleType:
    try:
        import decord
    except ImportError as error:
        raise ValueError(
            "config.data.decoder: decord needs the package of that name: pip install decord"
            " (wheels for x86-64 Linux and Windows only); or choose pyav"
        ) from error
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def _too_short(last: int, num_frames: int) -> str:
    return f"has {num_frames} frames that can be decoded, but frame {last} (from 0) was asked for"
