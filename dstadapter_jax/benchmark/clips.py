"""Synthetic clips that are as expensive to decode as those of the four datasets.

Sizes, codecs, frame rates and bit rates are those of the datasets. A textured head, torso and hands
move in front of a textured wall with camera noise, since flat colors decode faster than real video.
"""

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

NOISE = 3.5  # standard deviation, gray levels


@dataclasses.dataclass(frozen=True)
class ClipKind:
    """Format of the clips of a dataset.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        frames: Number of frames.
        fps: Frames per second.
        codec: FFmpeg's name of the encoder.
        frame_bytes: Target size of a frame in bytes; encoders produce 0.6 to 1.1 times as much.
    """

    width: int
    height: int
    frames: int
    fps: Fraction
    codec: str
    frame_bytes: int

    def __str__(self) -> str:
        size = f"{self.width}x{self.height}"
        return f"{size}, {self.frames} frames at {float(self.fps):.5g}/s, {self.codec}"


# Sources of bytes per frame: a real clip of AUTSL (43 frames, 355 kB) and of LSA64 (88 frames,
# 314 kB); INCLUDE's archives (63 frames and 13.2 MB per clip); for Bukva only the total of 27 GB is
# known, which matches 17 Mbit/s, a usual rate of phones.
KINDS = {
    "h264_512": ClipKind(512, 512, 60, Fraction(30), "libx264", 8_300),
    "h264_1080p": ClipKind(1920, 1080, 90, Fraction(60_000, 1_001), "libx264", 3_600),
    "autsl": ClipKind(512, 512, 60, Fraction(30), "mpeg4", 8_300),
    "include": ClipKind(1920, 1080, 63, Fraction(25), "libx264", 210_000),
    "bukva": ClipKind(1080, 1920, 50, Fraction(30), "libx264", 70_000),
}


def write_clip(path: Path, kind: ClipKind, seed: int) -> None:
    """Draw and encode a clip; the same seed gives the same file."""
    with av.open(str(path), "w") as container:
        preset = {"preset": "veryfast"} if kind.codec == "libx264" else {}
        stream = cast(VideoStream, container.add_stream(kind.codec, rate=kind.fps, options=preset))
        stream.codec_context.thread_count = 1  # otherwise the file depends on the machine
        stream.width, stream.height, stream.pix_fmt = kind.width, kind.height, "yuv420p"
        stream.bit_rate = round(8 * kind.frame_bytes * kind.fps)
        for pixels in draw_frames(kind, np.random.default_rng(seed)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def draw_frames(kind: ClipKind, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the frames of a clip, `(H, W, 3)` uint8 RGB."""
    height, width = kind.height, kind.width
    side = min(height, width)
    wall = _texture(rng, height, width, 150)
    torso = _texture(rng, side // 2, side // 2, 80)
    head = _texture(rng, side // 4, side // 5, 190)
    hands = [_texture(rng, side // 9, side // 9, 190) for _ in range(2)]
    noise = rng.normal(0, NOISE, (height + 64, width + 64, 3)).astype(np.int16)
    speeds = rng.uniform(0.8, 1.5, 2)
    for time in np.linspace(0, 2 * np.pi, kind.frames):
        frame = wall.copy()
        y, x = 0.5 * height, 0.5 * width + 0.02 * side * np.sin(time)
        _paste(frame, torso, y + 0.3 * side, x)
        _paste(frame, head, y - 0.1 * side, x)
        for hand, speed, side_x in zip(hands, speeds, (-1, 1), strict=True):
            down, out = 0.2 + 0.15 * np.sin(speed * time), 0.2 + 0.1 * np.cos(speed * time)
            _paste(frame, hand, y + down * side, x + side_x * out * side)
        top, left = rng.integers(64, size=2)
        grain = noise[top : top + height, left : left + width]
        yield np.clip(frame + grain, 0, 255).astype(np.uint8)


def _texture(rng: np.random.Generator, height: int, width: int, level: int) -> np.ndarray:
    """Coarse and fine patches of color around a gray level, `(H, W, 3)` int16."""
    texture = np.full((height, width, 3), level, np.float32)
    for cells, contrast in ((3, 30), (12, 20), (48, 12)):
        patches = rng.uniform(-contrast, contrast, (cells, cells, 3)).astype(np.float32)
        texture += cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC)
    return texture.astype(np.int16)


def _paste(frame: np.ndarray, patch: np.ndarray, y: float, x: float) -> None:
    """Paste the ellipse inscribed in a patch, centered at (x, y); clipped at the bottom."""
    height, width = patch.shape[:2]
    top, left = round(y - height / 2), round(x - width / 2)
    part = frame[top : top + height, left : left + width]
    rows, columns = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    inside = (rows**2 + columns**2 < 1)[: len(part)]
    part[inside] = patch[: len(part)][inside]
