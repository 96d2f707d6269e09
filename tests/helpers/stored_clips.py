"""Checks of stored clips: examples of built datasets."""

from typing import Any

import cv2
import numpy as np
import pytest

from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.data.records import example_views
from tests.helpers.clips import read_barcode

Example = dict[str, Any]


def frame_numbers(example: Example) -> list[int]:
    """Numbers of the frames that the loader reads."""
    # Three samples a frame, so that all frames are read.
    cfg = PreprocessConfig(num_frames=3 * int(example["num_frames"]), resolution=224)
    # Of the three test crops, the first is as wide as the frame and holds its top, the barcode.
    views, *_ = example_views(example, cfg, "pyav", "test", None)
    return sorted({read_barcode(frame) for frame in views[0]})


def check_clip(example: Example, num_frames: int, height: int, width: int, fps: float) -> None:
    """Check the properties of a stored clip, and its last frame in the storage `frames`."""
    assert (example["height"], example["width"]) == (height, width)
    assert example["num_frames"] == num_frames
    assert example["fps"] == pytest.approx(fps, rel=1e-6)
    if "frames" in example:
        assert len(example["frames"]) == num_frames
        image = cv2.imdecode(np.frombuffer(example["frames"][-1], np.uint8), 1)
        assert min(image.shape[:2]) == min(256, height, width)
        assert read_barcode(image) == num_frames - 1
