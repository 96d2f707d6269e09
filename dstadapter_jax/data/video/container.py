"""Opens video files that come from outside and are not trusted.

Only ordinary video containers are opened, a file can't make FFmpeg open another file or an address,
a frame's size is bounded, and whatever is wrong with a clip is one `ClipError`.
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

VideoSource = str | os.PathLike | bytes  # a path, or the encoded file's bytes

VIDEO_SUFFIXES = (
    *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
)
# 4K in any orientation (4096x2160) with room to spare; one RGB frame of this size takes 48 MiB.
MAX_PIXELS = 4096 * 4096
# Long side to short side. To bring the short side of 2 by 4,000 pixels to the network's size would
# take gigabytes.
MAX_ELONGATION = 64
# FFmpeg's names. Left out on purpose: playlists (hls, dash, concat), which open other files and
# addresses, and images, subtitles and scripts, which are no clips.
_CONTAINERS = "mp4,matroska,avi,mpegts,mpeg,mpegvideo,h264,hevc,m4v,flv,ogg,asf,yuv4mpegpipe"
# What PyAV, and the callbacks that read the file for it, raise about damaged clips.
_READ_ERRORS = (av.FFmpegError, OSError, ValueError, ArithmeticError, LookupError, MemoryError)


class ClipError(ValueError):
    """A clip can't be read.

    Attributes:
        clip: the clip's name or path.
        reason: what is wrong with it, for people.
    """

    def __init__(self, clip: str, reason: str):
        super().__init__(clip, reason)  # both in `args`: the error survives pickling
        self.clip = clip
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.clip}: {self.reason}"


class OpenClip(NamedTuple):
    """A clip whose frames can be decoded."""

    name: str
    container: InputContainer
    stream: VideoStream


@contextlib.contextmanager
def open_clip(source: VideoSource | BinaryIO, name: str | None) -> Iterator[OpenClip]:
    """Opens a clip's video stream; whatever fails inside the block is a `ClipError`."""
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
        size = container.size if file.seekable() else math.inf  # of a pipe there is no telling
        yield OpenClip(clip, container, _video_stream(container, clip, size))


def clip_name(source: VideoSource | BinaryIO, name: str | None) -> str:
    """What errors call a clip."""
    if name is not None:
        return name
    return os.fsdecode(source) if isinstance(source, str | os.PathLike) else "<bytes>"


@contextlib.contextmanager
def blame(clip: str) -> Iterator[None]:
    """Whatever can't be read or decoded inside the block is a `ClipError`."""
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
    """A clip's bytes as a file; refuses what isn't one, and an empty one."""
    if not isinstance(source, str | os.PathLike | bytes):
        yield source
        return
    # Checked before opening: to open a pipe would wait for a writer, maybe forever.
    if not isinstance(source, bytes) and os.path.exists(source) and not os.path.isfile(source):
        raise OSError(errno.EINVAL, "is not a regular file")
    with io.BytesIO(source) if isinstance(source, bytes) else open(os.fspath(source), "rb") as file:
        if not file.seek(0, os.SEEK_END):
            raise OSError(errno.EINVAL, "is empty (0 bytes)")
        file.seek(0)
        yield file


def _video_stream(container: InputContainer, clip: str, file_size: float) -> VideoStream:
    # Cover art of an audio file counts as a video stream in FFmpeg.
    cover = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        raise ClipError(clip, "holds no video stream")
    stream = streams[0]
    if stream.codec_context is None:
        raise ClipError(clip, "holds video of a kind that FFmpeg has no decoder for, or is cut off")
    if stream.width * stream.height > MAX_PIXELS:
        problem = f"has frames of {stream.width}x{stream.height}, more than {MAX_PIXELS:,} pixels"
        raise ClipError(clip, f"{problem}; scale it down first")
    if max(stream.width, stream.height) > MAX_ELONGATION * max(min(stream.width, stream.height), 1):
        problem = f"has frames of {stream.width}x{stream.height}, which is too oblong"
        raise ClipError(clip, f"{problem}: more than {MAX_ELONGATION} to 1; crop it first")
    if any(entry.pos + entry.size > file_size for entry in stream.index_entries):
        raise ClipError(clip, "is truncated: its index points beyond the file's end")
    # Many clips are decoded at once by the loader's threads: one thread a clip is the most
    # efficient, adds no delay at a clip's start, and keeps the number of threads in one place.
    stream.thread_count = 1
    # For frames larger than the file's header says.
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream
