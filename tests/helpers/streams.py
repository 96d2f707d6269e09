"""Frames, windows and streams for the tests of sign spotting."""

import io
from fractions import Fraction

import av
import numpy as np

from dstadapter_jax.adapters.schema import DetectionCounts, SpottingSettings
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.spotting.detector import Detection

CFG = PreprocessConfig(num_frames=4, resolution=32)
FPS = 25
SETTINGS = SpottingSettings(
    window_seconds=(0.5, 1.0),
    weights=(0.1, -0.2),
    bias=0.3,
    metrics={"test": DetectionCounts(num_signs=2, true_positives=1, false_positives=0)},
)


def noise_frames(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    shape = (count, height, width, 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def window(label: int, start: float, end: float, score: float) -> Detection:
    return Detection(label, start, end, score, 0.9)


def yuv4mpeg(frames: np.ndarray) -> bytes:
    """Frames as YUV4MPEG, as another program would write it."""
    file = io.BytesIO()
    with av.open(file, "w", format="yuv4mpegpipe") as container:
        stream = container.add_stream("rawvideo", rate=Fraction(FPS))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()
