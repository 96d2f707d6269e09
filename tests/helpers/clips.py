"""Real video files for the tests, drawn and encoded on the spot."""

from collections.abc import Sequence
from fractions import Fraction
from os import PathLike
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream

_BITS = 8


def write_clip(
    path: str | PathLike,
    frames: np.ndarray,
    *,
    codec: str = "libx264",
    fps: int | Fraction = 30,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    pts: Sequence[int] | None = None,
    rotation: int = 0,
    mirrored: bool = False,
) -> None:
    """Encodes (N, H, W, 3) uint8 RGB frames; the path's extension chooses the container.

    `options` are the encoder's: `g` is the distance of key frames, `bf` the number of B-frames
    between others. `pts` are the frames' times in units of 1/fps: uneven ones make a variable frame
    rate, negative ones, in mp4, an edit list that skips those frames. The file asks its player for
    a turn by `rotation` degrees, counterclockwise, and then, if `mirrored`, for left and right to
    be exchanged.
    """
    with av.open(str(path), "w") as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=fps, options=options or {}))
        _, stream.height, stream.width, _ = frames.shape
        stream.pix_fmt = pix_fmt
        # One thread: a file is the same on every machine, and no test waits for idle threads.
        stream.codec_context.thread_count = 1
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        for time, pixels in zip(range(len(frames)) if pts is None else pts, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def barcoded_frames(n: int, height: int, width: int) -> np.ndarray:
    """Draws (n, height, width, 3) uint8 frames that carry their own number (modulo 256).

    The upper half holds the number as black and white bars, highest bit on the left, between a
    white and a black one. The lower half is moving color, hard on decoders.
    """
    y, x = np.mgrid[:height, :width]
    bar = x[0] * (_BITS + 2) // width
    frames = np.empty((n, height, width, 3), np.uint8)
    for i, frame in enumerate(frames):
        frame[:] = np.stack([x * 5 + i * 7, y * 4 + x + i * 11, x * y // 9 + i * 17], -1) % 256
        bits = [1, *(i >> shift & 1 for shift in reversed(range(_BITS))), 0]
        frame[: height // 2] = (255 * np.array(bits))[bar][:, None]
    return frames


def read_barcode(frame: np.ndarray) -> int:
    """Reads the number of a decoded frame of `barcoded_frames`; fails if there is none."""
    height, width, _ = frame.shape
    centers = [(2 * i + 1) * width // (2 * (_BITS + 2)) for i in range(_BITS + 2)]
    rows = frame[height // 8 : height // 4 + 1, centers].astype(float).mean((0, 2))
    assert ((rows < 64) | (rows > 192)).all(), f"no clear bars: {rows.round()}"
    white, *bits, black = (rows > 128).astype(int)
    assert (white, black) == (1, 0), f"not upright: {rows.round()}"
    return int("".join(map(str, bits)), 2)
