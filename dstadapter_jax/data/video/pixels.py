"""Decoded frames to upright RGB, pixel for pixel what decord, the reference's decoder, gives."""

from typing import NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation


class Orientation(NamedTuple):
    """How a clip's stored frames are to be turned upright."""

    quarter_turns: int  # counterclockwise
    mirrored: bool  # flipped vertically before the turn, as by some phones' front cameras


def orientation_of(frame: VideoFrame) -> Orientation:
    """Reads a clip's orientation off its first frame.

    Once a clip and not once a frame: PyAV ties a frame whose side data was looked at to itself, and
    it stays in memory until Python's cyclic garbage collector comes round.
    """
    matrix, mirrored = frame.side_data.get("DISPLAYMATRIX"), False
    if isinstance(matrix, SideData):
        a, b, _, c, d = np.frombuffer(memoryview(matrix), np.int32)[:5].astype(float)
        mirrored = a * d < b * c
    return Orientation(round(frame.rotation / 90) % 4, mirrored)


def to_rgb(frame: VideoFrame, orientation: Orientation, rgb_format: str = "rgb24") -> np.ndarray:
    """Converts a frame to (height, width, 3) RGB, upright; may be a view.

    `rgb_format` is `rgb24`, uint8, or `rgb48le`, uint16.
    """
    if frame.format.name in ("yuv420p10le", "yuv420p12le"):
        return _swscale(_chroma_rows_as_decord(frame, orientation), rgb_format)
    return upright(_swscale(frame, rgb_format), orientation)


def _swscale(frame: VideoFrame, rgb_format: str) -> np.ndarray:
    # POINT: a pixel takes its own block's chroma, as in decord's FFmpeg 4.1. For 8-bit 4:2:0, the
    # usual case, swscale has a converter that replicates chroma regardless of this flag. At odd
    # heights decord also shifts the chroma, which is not reproduced here.
    return frame.to_ndarray(format=rgb_format, interpolation=Interpolation.POINT, threads=1)


def upright(pixels: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Turns (height, width, …) upright; a view."""
    return np.rot90(pixels[::-1] if orientation.mirrored else pixels, orientation.quarter_turns)


def _chroma_rows_as_decord(frame: VideoFrame, orientation: Orientation) -> VideoFrame:
    """Turns a 4:2:0 frame of over 8 bits upright and into 4:2:2, with decord's chroma rows.

    FFmpeg 4.1, which is in decord, gives an odd row its own chroma row, an even row the mean of
    that and the one above, and the last row the mean of the last two (swscale's `yuv2packed1`
    only knows "one" and "mean"). Newer ones interpolate finely: by up to 100 gray levels other
    pixels at sharp edges of color than the reference saw.
    """
    luma, *chroma = (upright(_plane(plane), orientation) for plane in frame.planes)
    height, width = luma.shape
    below = np.arange(height) // 2
    above = np.maximum(np.arange(height) - 1, 0) // 2
    above[-1] = max(len(chroma[0]) - 2, 0)
    deep = VideoFrame(width, height, "yuv422p12le")
    deep.colorspace, deep.color_range = frame.colorspace, frame.color_range
    shift = 12 - frame.format.components[0].bits
    _plane(deep.planes[0])[:] = luma << shift
    for plane, rows in zip(deep.planes[1:], chroma, strict=True):
        _plane(plane)[:] = (rows[above] + rows[below]) << shift >> 1
    return deep


def _plane(plane: av.video.plane.VideoPlane) -> np.ndarray:
    samples = np.frombuffer(memoryview(plane), np.uint16)
    return samples.reshape(plane.height, -1)[:, : plane.width]  # lines are padded
