"""Video files of unknown origin, read and preprocessed within limits."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from dstadapter_jax.data.preprocess import PreprocessConfig, choose_frames, preprocess
from dstadapter_jax.data.records import decode_in_time
from dstadapter_jax.data.video.reader import ClipError, VideoInfo, probe, read_frames


class Clip(NamedTuple):
    """A preprocessed video.

    Attributes:
        views: `(V, T, R, R, 3)` uint8; the last one is the center crop.
        counts: `(V,)`, number of crops that each view represents.
        indices: `(T,)`, frame numbers in the video.
    """

    views: np.ndarray
    counts: np.ndarray
    indices: np.ndarray


@dataclasses.dataclass(frozen=True)
class ClipLimits:
    """Limits of a clip.

    Attributes:
        frames: Maximum number of frames, the same as in the dataset builders.
        seconds: Maximum duration, from the number of frames and their rate.
    """

    frames: int = 10_000
    seconds: float = math.inf

    def check_seconds(self, video: str, info: VideoInfo) -> None:
        """Raise ClipError for a clip that is too long."""
        seconds = info.num_frames / info.fps if info.fps else 0.0
        if seconds > self.seconds:
            problem = f"has {seconds:,.0f} seconds, more than {self.seconds:,.0f}"
            raise ClipError(video, f"{problem}: cut it to one sign")


def read_clip_file(
    video: str, cfg: PreprocessConfig, decoder: str = "pyav", limits: ClipLimits | None = None
) -> Clip:
    """Read a video file and preprocess it as in a test.

    Args:
        video: Path of the file.
        cfg: Preprocessing settings.
        decoder: `pyav` or `decord`.
        limits: Limits, by default `ClipLimits()`.

    Raises:
        ClipError: The file can't be read, lacks frames, exceeds a limit, or hangs the decoder.
    """

    def read() -> Clip:
        bounds = limits or ClipLimits()
        info = probe(video, max_frames=bounds.frames)
        bounds.check_seconds(video, info)
        views, counts = preprocess(
            info.num_frames,
            lambda indices: read_frames(video, indices.tolist(), decoder=decoder),
            cfg,
            "test",
        )
        return Clip(views, counts, choose_frames(info.num_frames, cfg, "test"))

    return decode_in_time(video, read)
