"""Film strips of clips: the frames that the network saw, for pages."""

import base64

import cv2
import numpy as np

from dstadapter_jax.data.clip_dataset import Example
from dstadapter_jax.data.preprocess import PreprocessConfig, choose_frames
from dstadapter_jax.data.records import example_views
from dstadapter_jax.data.views import Views

JPEG_QUALITY = 90


def middle_view(
    example: Example, cfg: PreprocessConfig, decoder: str, views: Views
) -> tuple[np.ndarray, np.ndarray]:
    """Loads the middle crop of the middle one of the segments in a clip's views.

    Returns:
        Frames before normalization, `(T, R, R, 3)` uint8 RGB, and their indices, `(T,)`.
    """
    middle, segments = views.segments // 2, views.segments
    pixels, *_ = example_views(
        example, cfg, decoder, "test", None, Views(crops=1, segments=segments)
    )
    num_frames = int(example["num_frames"])
    return pixels[middle], choose_frames(num_frames, cfg, "test", clip=middle, num_clips=segments)


def jpeg_frames(frames: np.ndarray) -> list[str]:
    """Encodes frames `(T, H, W, 3)` uint8 RGB as JPEG in base64."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    encoded = []
    for frame in frames:
        _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
        encoded.append(base64.b64encode(jpeg.tobytes()).decode())
    return encoded
