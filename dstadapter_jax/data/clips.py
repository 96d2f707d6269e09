"""From a video file of unknown origin to what the network gets, within limits."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from dstadapter_jax.data.preprocess import PreprocessConfig, choose_frames, preprocess
from dstadapter_jax.data.video.reader import ClipError, VideoInfo, check_decodes, probe, read_frames


class Clip(NamedTuple):
    """A video as the network gets it.

    Attributes:
        views: `(V, T, R, R, 3)` uint8; the center crop is the last.
        counts: `(V,)`, how many crops each stands for.
        indices: `(T,)`, which frames of the video they show.
    """

    views: np.ndarray
    counts: np.ndarray
    indices: np.ndarray


@dataclasses.dataclass(frozen=True)
class ClipLimits:
    """What a clip may claim to be, checked before it is decoded.

    Attributes:
        frames: At most; as many as the datasets' builders take.
        seconds: At most, by its frames and their rate.
    """

    frames: int = 10_000
    seconds: float = math.inf

    def check(self, video: str, info: VideoInfo) -> None:
        """Raises ClipError for a clip beyond them."""
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
    """Reads a video file as test clips are read.

    Args:
        video: Its path.
        cfg: What the network wants.
        decoder: `pyav` or `decord`.
        limits: Those of `ClipLimits()` if not given.

    Raises:
        ClipError: It can't be read, lacks frames, or is beyond the limits.
    """
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
