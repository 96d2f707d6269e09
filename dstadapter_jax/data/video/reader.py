"""Video files to RGB frames.

PyAV is the default decoder; decord, with which the reference was trained, is the other one. Both
give the same frames wherever decord is right, pixel for pixel but for 8-bit frames of odd height
and the inverse DCT's last bit in coarse MPEG-4 Part 2. decord 0.6, though, returns wrong frames,
silently, on open-GOP H.264, on MPEG-TS, and on MPEG-4 Part 2 with B-frames, and does not undo
mirroring; PyAV has none of these faults. Edit lists decord would read wrong are refused.

Clips come from outside and are not trusted: only ordinary video containers are opened, a file can't
make FFmpeg open another file or an address, a frame's size is bounded, and whatever is wrong with a
clip is one `ClipError`. Every call opens its own decoder: call from as many threads as you like.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import BinaryIO

import av
import numpy as np
from av.video.frame import VideoFrame

from dstadapter_jax.data.video.container import (
    ClipError,
    OpenClip,
    VideoSource,
    blame,
    clip_name,
    open_clip,
    open_file,
)
from dstadapter_jax.data.video.pixels import Orientation, orientation_of, to_rgb, upright
from dstadapter_jax.errors import ConfigError

DECODERS = ("pyav", "decord")
DEFAULT_FPS = 25.0  # where a file states none
_NO_FRAME = "holds no frame that can be decoded"


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What `probe` finds.

    Attributes:
        num_frames: frames that are shown; those an edit list skips don't count.
        fps: average frames a second, 0 if the file states none.
        height, width: pixels of the upright frame, `rotation` applied.
        codec: FFmpeg's name for it, such as `h264`.
        rotation: degrees, counterclockwise, that turn a stored frame upright.
    """

    num_frames: int
    fps: float
    height: int
    width: int
    codec: str
    rotation: int


def probe(source: VideoSource, *, name: str | None = None) -> VideoInfo:
    """Describes a clip; decodes its first frame only.

    `name` is what errors call the clip, its path if not given. Raises `ClipError` if the clip
    can't be read.
    """
    with open_clip(source, name) as clip:
        num_frames, end, first = 0, 0.0, None
        for packet in clip.container.demux():
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index != clip.stream.index:
                continue
            num_frames += packet.size > 0 and not packet.is_discard
            if first is None:
                first = next(iter(clip.stream.decode(packet)), None)
        if first is None:
            raise ClipError(clip.name, _NO_FRAME)
        _check_end(clip, end)
        orientation = orientation_of(first)
        height, width = upright(np.empty((first.height, first.width)), orientation).shape
        fps = float(clip.stream.average_rate or clip.stream.guessed_rate or 0)
        codec = clip.stream.codec_context.name
        rotation = 90 * orientation.quarter_turns
        return VideoInfo(num_frames, fps, height, width, codec, rotation)


def _check_end(clip: OpenClip, end: float) -> None:
    """Refuses Matroska and WebM, which have no count of frames, if they end before they say."""
    declared = (clip.container.duration or 0) / av.time_base
    if "matroska" in clip.container.format.name and end < 0.99 * declared - 0.25:
        problem = f"is truncated: it ends after {end:.1f} of {declared:.1f} seconds"
        raise ClipError(clip.name, problem)


def probe_whole(source: VideoSource, *, name: str | None = None) -> VideoInfo:
    """Like `probe`, but decodes the whole clip, and raises `ClipError` if it lacks a frame."""
    info = probe(source, name=name)
    check_decodes(source, info, name=name)
    return info


def check_decodes(source: VideoSource, info: VideoInfo, *, name: str | None = None) -> None:
    """Decodes the whole clip; raises `ClipError` if it lacks a frame that `probe` counted."""
    with open_clip(source, name) as clip:
        check_whole(clip.name, info, decoded=sum(1 for _ in _decode(clip)))


def check_whole(clip: str, info: VideoInfo, decoded: int) -> None:
    """Raises `ClipError` if fewer frames were decoded than the clip should have.

    Frames would be counted otherwise than they are shown, and the rest be out of step.
    """
    if decoded != info.num_frames:
        missing = info.num_frames - decoded
        raise ClipError(clip, f"is damaged: {missing} of {info.num_frames} frames can't be decoded")


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
    """Yields every frame of a clip once, upright, as (height, width, 3) uint8 RGB.

    `name` is what errors call the clip, its path if not given. Raises `ClipError`, while
    iterating, if the clip can't be read.
    """
    for _, pixels in iter_timed_frames(source, name=name):
        yield pixels


def iter_timed_frames(
    source: VideoSource | BinaryIO, *, name: str | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Like `iter_frames`, each frame with the seconds from the first one's showing to its own.

    They never go back: where a stream's own times do, since it was joined of several, it goes on
    with the next frame's time. A file object is read on as it comes, and never back.
    """
    with open_clip(source, name) as clip:
        rate = float(clip.stream.average_rate or clip.stream.guessed_rate or DEFAULT_FPS)
        offset, last = 0.0, -1 / rate
        for index, (frame, orientation) in enumerate(_decode(clip)):
            seconds = index / rate if frame.time is None else frame.time
            if index == 0 or seconds + offset <= last:
                offset = last + 1 / rate - seconds
            last = seconds + offset
            yield last, np.ascontiguousarray(to_rgb(frame, orientation))


def _read_pyav(source: VideoSource, indices: list[int], name: str | None) -> np.ndarray:
    positions: dict[int, list[int]] = {}
    for position, index in enumerate(indices):
        positions.setdefault(index, []).append(position)
    last, num_frames = max(indices), 0
    with open_clip(source, name) as clip:
        for index, (frame, orientation) in enumerate(_decode(clip)):
            num_frames += 1
            if index in positions:
                pixels = to_rgb(frame, orientation)
                if index == min(positions):
                    frames = np.empty((len(indices), *pixels.shape), np.uint8)
                frames[positions[index]] = pixels
            if index == last:
                return frames
        raise ClipError(clip.name, _too_short(last, num_frames))


def _read_decord(source: VideoSource, indices: list[int], name: str | None) -> np.ndarray:
    decord = _import_decord()
    # First PyAV, which refuses what decord would open blindly and counts where decord guesses.
    info, clip = probe(source, name=name), clip_name(source, name)
    if max(indices) >= info.num_frames:
        raise ClipError(clip, _too_short(max(indices), info.num_frames))
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


def _decode(clip: OpenClip) -> Iterator[tuple[VideoFrame, Orientation]]:
    size = None
    for frame in clip.container.decode(clip.stream):
        if size is None:
            size, orientation = (frame.width, frame.height), orientation_of(frame)
        if (frame.width, frame.height) != size:
            problem = f"changes its frame size from {size[0]}x{size[1]}"
            raise ClipError(clip.name, f"{problem} to {frame.width}x{frame.height}")
        yield frame, orientation
    if size is None:
        raise ClipError(clip.name, _NO_FRAME)


def _too_short(last: int, num_frames: int) -> str:
    return f"has {num_frames} frames that can be decoded, but frame {last} (from 0) was asked for"
