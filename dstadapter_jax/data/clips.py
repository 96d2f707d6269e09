"""Video files of unknown origin, read and preprocessed within limits."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from dstadapter_jax.data.preprocess import PreprocessConfig, choose_frames, preprocess
from dstadapter_jax.data.records import decode_in_time
from dstadapter_jax.data.video.reader import ClipError, VideoInfo, check_decodes, probe, read_frames


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
    """Limits of a clip, checked before it is decoded.

    Attributes:
        frames: Maximum number of frames, the same as in the dataset builders.
        seconds: Maximum duration, from the number of frames and their rate.
    """

    frames: int = 10_000
    seconds: float = math.inf

    def check(self, video: str, info: VideoInfo) -> None:
        """Raise ClipError for a clip that exceeds a limit."""
        seconds = info.num_frames / info.fps if info.fps else 0.0
        for size, most, unit in (
            (info.num_frames, self.frames, "frames"),
            (seconds, self.seconds, "seconds"),
        ):
            if size > most:
                problem = f"has {size:,.0f} {unit}, more than {most:,.0f}: cut it to one sign"
                raise ClipError(video, problem)


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
        info = probe(video)
        (limits or ClipLimits()).check(video, info)
        check_decodes(video, info)
        views, counts = preprocess(
            info.num_frames,
            lambda indices: read_frames(video, indices.tolist(), decoder=decoder),
            cfg,
            "test",
        )
        return Clip(views, counts, choose_frames(info.num_frames, cfg, "test"))

    return decode_in_time(video, read)
