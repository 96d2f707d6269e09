"""Opening of untrusted video files.

Only ordinary video containers are opened. A file can't make FFmpeg open another file or an address,
the size of frames is bounded, and any problem with a clip is a `ClipError`.
"""

import contextlib
import errno
import io
import math
import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from dstadapter_jax.data.video import truncation
from dstadapter_jax.errors import UserError

VideoSource = str | os.PathLike | bytes  # a path, or the encoded file's bytes

VIDEO_SUFFIXES = (
    *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mod", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".webp", ".wmv"),
)
# 4K in any orientation (4096x2160) with room to spare; one RGB frame of this size takes 48 MiB.
MAX_PIXELS = 4096 * 4096
# Long side to short side: resizing 2 by 4,000 pixels to the network's input size would take
# gigabytes.
MAX_ELONGATION = 64
# FFmpeg's names, without playlists (hls, dash, concat), which open other files and addresses, and
# without images, subtitles and scripts, which are not clips.
_CONTAINERS = "mp4,matroska,avi,mpegts,mpeg,mpegvideo,h264,hevc,m4v,flv,ogg,asf,gif,dv,yuv4mpegpipe"
# Raised by PyAV, and by the callbacks that read the file for it, for damaged clips.
_READ_ERRORS = (av.FFmpegError, OSError, ValueError, ArithmeticError, LookupError, MemoryError)


class ClipError(UserError):
    """A clip that can't be read.

    Attributes:
        clip: Name or path of the clip.
        reason: Description of the problem.
    """

    def __init__(self, clip: str, reason: str):
        super().__init__(clip, problem=reason)
        self.clip, self.reason = clip, reason


class OpenClip(NamedTuple):
    """A clip whose frames can be decoded."""

    name: str
    container: InputContainer
    stream: VideoStream
    num_streams: int  # of video


@contextlib.contextmanager
def open_clip(source: VideoSource | BinaryIO, name: str | None) -> Iterator[OpenClip]:
    """Open a clip's video stream; any failure inside the block is a `ClipError`."""
    clip = clip_name(source, name)
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"}
    with (
        blame(clip),
        open_file(source) as file,
        av.open(
            file,
            mode="r",
            options={"max_pixels": str(MAX_PIXELS)},
            container_options=options,
            metadata_errors="replace",
        ) as container,
    ):
        if file.seekable() and (problem := truncation.find_problem(container.format.name, file)):
            raise ClipError(clip, problem)
        size = container.size if file.seekable() else math.inf  # unknown for a pipe
        streams = _video_streams(container)
        if not streams:
            raise ClipError(clip, "holds no video stream")
        best = container.streams.best("video")  # FFmpeg's choice
        stream = best if best in streams else streams[0]
        _prepare(stream, clip, size)
        yield OpenClip(clip, container, stream, len(streams))


def clip_name(source: VideoSource | BinaryIO, name: str | None) -> str:
    """Name of a clip in errors."""
    if name is not None:
        return name
    return os.fsdecode(source) if isinstance(source, str | os.PathLike) else "<bytes>"


@contextlib.contextmanager
def blame(clip: str) -> Iterator[None]:
    """Turn any failure to read or decode inside the block into a `ClipError`."""
    try:
        yield
    except ClipError:
        raise
    except _READ_ERRORS as error:
        raise ClipError(clip, _reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, av.FFmpegError) and not isinstance(error, av.error.OSError):
        return f"is not a video, is damaged, or is of an unsupported kind ({error.strerror})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"can't be decoded ({type(error).__name__}: {error})"


@contextlib.contextmanager
def open_file(source: VideoSource | BinaryIO) -> Iterator[BinaryIO]:
    """Open a clip's bytes as a file; refuses empty ones and anything that is not a file."""
    if not isinstance(source, str | os.PathLike | bytes):
        yield source
        return
    # Checked before opening: opening a named pipe waits for a writer, possibly forever.
    if not isinstance(source, bytes) and os.path.exists(source) and not os.path.isfile(source):
        raise OSError(errno.EINVAL, "is not a regular file")
    with io.BytesIO(source) if isinstance(source, bytes) else open(os.fspath(source), "rb") as file:
        if not file.seek(0, os.SEEK_END):
            raise OSError(errno.EINVAL, "is empty (0 bytes)")
        file.seek(0)
        yield file


def _video_streams(container: InputContainer) -> list[VideoStream]:
    # FFmpeg treats the cover art of an audio file as a video stream.
    cover = av.stream.Disposition.attached_pic
    return [s for s in container.streams.video if not s.disposition & cover]


def _prepare(stream: VideoStream, clip: str, file_size: float) -> None:
    """Check a stream's header and set its decoder's options."""
    if stream.codec_context is None:
        raise ClipError(clip, "holds video of a kind that FFmpeg has no decoder for, or is cut off")
    check_size(clip, stream.width, stream.height)
    if any(entry.pos + entry.size > file_size for entry in stream.index_entries):
        raise ClipError(clip, "is truncated: its index points beyond the file's end")
    # The loader's threads decode many clips at once: one thread per clip is most efficient and adds
    # no delay at the start of a clip.
    stream.thread_count = 1
    # For frames that are larger than in the file's header.
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}


def check_size(clip: str, width: int, height: int) -> None:
    """Raise ClipError for frames that are too large or too oblong to process."""
    if width * height > MAX_PIXELS:
        problem = f"has frames of {width}x{height}, more than {MAX_PIXELS:,} pixels"
        raise ClipError(clip, f"{problem}; scale it down first")
    if max(width, height) > MAX_ELONGATION * max(min(width, height), 1):
        problem = f"has frames of {width}x{height}, which is too oblong"
        raise ClipError(clip, f"{problem}: more than {MAX_ELONGATION} to 1; crop it first")
