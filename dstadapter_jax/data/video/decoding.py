"""Decoding of all frames of a clip in order of display, and the clip's properties."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import av
import cv2
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame

from dstadapter_jax.data.video.container import ClipError, OpenClip, check_size
from dstadapter_jax.data.video.dynamic_range import SDR, range_of, to_sdr
from dstadapter_jax.data.video.pixels import Orientation, orientation_of, to_rgb

DEFAULT_FPS = 25.0  # of clips without times, as in FFmpeg
NO_FRAME = "holds no frame that can be decoded"
_SEEK_MARGIN = 10.0  # seconds; pictures right after a key frame may need earlier ones
_RATE_TOLERANCE = 0.02  # of the header's frame rate; times in WebM are rounded to milliseconds


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """Properties of a clip whose frames were all decoded.

    Attributes:
        num_frames: Number of frames that are shown; those an edit list skips don't count.
        fps: Mean frames per second by the frames' times; 0 if there are none.
        height: Pixels of the first frame as it is shown: upright, with square pixels.
        width: Likewise.
        codec: FFmpeg's name, such as `h264`.
        rotation: Degrees, counterclockwise, that turn a stored frame upright.
        pixel_aspect: Width to height of a stored pixel, such as `16:15`.
        dynamic_range: `SDR`, `HLG`, `PQ` or `SDR, BT.2020`; frames are read as SDR.
        num_streams: Number of video streams; FFmpeg's choice is read.
        interlaced: Whether frames consist of two fields.
        num_lost: Number of pictures before the first frame that can't be decoded, where a
            recording was cut.
        num_sizes: Number of frame sizes; later sizes are scaled to the first.
    """

    num_frames: int
    fps: float
    height: int
    width: int
    codec: str
    rotation: int = 0
    pixel_aspect: str = "1:1"
    dynamic_range: str = SDR
    num_streams: int = 1
    interlaced: bool = False
    num_lost: int = 0
    num_sizes: int = 1


class DecodedFrame(NamedTuple):
    """A frame that is converted to pixels when they are asked for.

    Attributes:
        seconds: Time since the first frame; None if the stream has no times.
        pixels: Function that returns `(H, W, 3)` uint8 RGB, upright.
    """

    seconds: float | None
    pixels: Callable[[], np.ndarray]


class Frames(Protocol):
    """The frames of a clip, which can be iterated over once."""

    name: str

    def __iter__(self) -> Iterator[DecodedFrame]: ...

    def info(self) -> VideoInfo:
        """Properties of the clip, after the iteration."""


class VideoFrames:
    """The frames of a video file, as FFmpeg decodes them.

    Pictures before the first frame that can't be decoded are counted as lost: streams that were cut
    begin with them. Any later error of the decoder is damage.

    Args:
        clip: The clip.
        start: Seconds since the first frame; frames long before may be left out.
    """

    def __init__(self, clip: OpenClip, start: float = 0.0):
        self.name, self._clip, self._start = clip.name, clip, start
        self._num_frames = self._num_lost = 0
        self._origin = self._first_seconds = self._last_seconds = 0.0
        self._sizes: set[tuple[int, int]] = set()
        self._shortest, self._longest = math.inf, 0.0  # seconds between frames
        self._look: _Look | None = None

    def __iter__(self) -> Iterator[DecodedFrame]:
        for frame in self._frames_from_start():
            seconds = None if frame.time is None else frame.time - self._origin
            assert self._look is not None
            self._sizes.add((frame.width, frame.height))
            self._num_frames += 1
            self._note_time(seconds or 0.0)
            yield DecodedFrame(seconds, functools.partial(self._look.pixels, frame))

    def _note_time(self, seconds: float) -> None:
        interval, self._last_seconds = seconds - self._last_seconds, seconds
        if self._num_frames == 1:
            self._first_seconds = seconds
        elif interval > 0:  # where streams were joined, times go back
            self._shortest = min(self._shortest, interval)
            self._longest = max(self._longest, interval)

    def _frames_from_start(self) -> Iterator[VideoFrame]:
        """All frames, or those from a key frame well before the start."""
        times: list[int | None] = []
        frames = self._decode(times)
        first = next(frames, None)
        if first is None:
            raise ClipError(self.name, NO_FRAME)
        self._look = _look_of(first, self._clip)
        self._origin = first.time or 0.0
        self._num_lost = _num_before(times, first)
        if self._start > _SEEK_MARGIN and first.time is not None:
            self._seek(self._start - _SEEK_MARGIN)
            frames = self._decode([])
            first = next(frames, None)
            if first is None or first.time is None or first.time - self._origin > self._start:
                self._seek(0.0)  # the stream has too few key frames, or no index
                frames = self._decode([])
                first = next(frames, None)
        if first is not None:
            yield first
        yield from frames

    def _seek(self, seconds: float) -> None:
        self._clip.container.seek(int((self._origin + seconds) * av.time_base))

    def info(self) -> VideoInfo:
        """Properties of the clip, after the iteration."""
        stream, look = self._clip.stream, self._look
        assert look is not None
        return VideoInfo(
            num_frames=self._num_frames,
            fps=self._fps(),
            height=look.height,
            width=look.width,
            codec=stream.codec_context.name,
            rotation=90 * look.orientation.quarter_turns,
            pixel_aspect=look.pixel_aspect,
            dynamic_range=look.dynamic_range,
            num_streams=self._clip.num_streams,
            interlaced=look.interlaced,
            num_lost=self._num_lost,
            num_sizes=len(self._sizes),
        )

    def _fps(self) -> float:
        """The header's frame rate, unless the frames' times contradict it."""
        declared = float(self._clip.stream.average_rate or 0)
        seconds = self._last_seconds - self._first_seconds
        if seconds <= 0:
            return declared
        # The last frame is shown for a time that its file knows, as long as some other frame.
        fastest = self._num_frames / (seconds + self._shortest) * (1 + _RATE_TOLERANCE)
        slowest = self._num_frames / (seconds + self._longest) * (1 - _RATE_TOLERANCE)
        consistent = slowest <= declared <= fastest
        return declared if consistent else (self._num_frames - 1) / seconds

    def _decode(self, times: list[int | None]) -> Iterator[VideoFrame]:
        """Decode all frames, and list the times of the packets until the first one."""
        started = False  # with a picture that does not depend on others
        for packet in self._clip.container.demux(self._clip.stream):
            if self._look is None and packet.size and not packet.is_discard:
                times.append(packet.dts if packet.pts is None else packet.pts)
            try:
                frames = packet.decode()
            except av.error.InvalidDataError as error:
                if started:
                    problem = f"is damaged: a picture{_at(packet)} can't be decoded"
                    raise ClipError(self.name, f"{problem} ({error.strerror})") from error
                continue
            # Where MPEG transport streams were joined, the first packet is marked, too.
            if packet.is_corrupt and started and self._clip.container.format.name != "mpegts":
                raise ClipError(self.name, f"is truncated: data is missing{_at(packet)}")
            started = started or packet.is_keyframe or bool(frames)
            yield from frames


def _num_before(times: list[int | None], frame: VideoFrame) -> int:
    """Number of packets that were to be shown before a frame; undecodable ones may lack times."""
    if frame.pts is None:
        return 0
    return sum(time is None or time < frame.pts for time in times)


def _at(packet: Packet) -> str:
    return "" if packet.pts is None else f" at {float(packet.pts * packet.time_base):.1f} seconds"


class _Look(NamedTuple):
    """How the stored frames of a clip are shown, by its first frame."""

    orientation: Orientation
    dynamic_range: str
    pixel_aspect: str
    interlaced: bool
    width: int  # upright
    height: int

    def pixels(self, frame: VideoFrame) -> np.ndarray:
        """Convert a frame to `(height, width, 3)` uint8 RGB."""
        if self.dynamic_range == SDR:
            pixels = to_rgb(frame, self.orientation)
        else:
            pixels = to_sdr(to_rgb(frame, self.orientation, "rgb48le"), self.dynamic_range)
        if pixels.shape[:2] != (self.height, self.width):
            pixels = resize(pixels, self.width, self.height)
        return np.ascontiguousarray(pixels)


def _look_of(frame: VideoFrame, clip: OpenClip) -> _Look:
    aspect = clip.stream.sample_aspect_ratio or 1
    width, height = max(round(frame.width * aspect), 1), frame.height
    check_size(clip.name, width, height)
    orientation = orientation_of(frame)
    if orientation.quarter_turns % 2:
        width, height = height, width
    return _Look(
        orientation,
        range_of(frame),
        f"{aspect.numerator}:{aspect.denominator}",
        bool(frame.interlaced_frame),
        width,
        height,
    )


def resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize `(H, W, 3)` linearly."""
    return cv2.resize(np.ascontiguousarray(pixels), (width, height))
