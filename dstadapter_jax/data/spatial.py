"""Spatial steps of preprocessing: resizing and the places of crops, as in MMAction2."""

import cv2
import numpy as np

# Clips are loaded by many threads at once: a pool of OpenCV's own below each of them would only
# make them wait for one another. It holds for the whole process, so here alone.
cv2.setNumThreads(0)

ASPECT_RATIOS = (3 / 4, 4 / 3)
CROP_ATTEMPTS = 10


def margin(resolution: int) -> int:
    """Short side before the crop to `resolution`, in proportion to the reference's 256 for 224."""
    return round(resolution * 256 / 224)


def resize(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize frames `(T, H, W, 3)` bilinearly with half-pixel centers, without antialiasing."""
    return np.stack(
        [cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in frames]
    )


def resize_short_side(frames: np.ndarray, short_side: int) -> np.ndarray:
    """Resize frames in proportion; sides are rounded as by `mmcv.rescale_size`."""
    height, width = frames.shape[1:3]
    scale = short_side / min(height, width)
    new_height, new_width = int(height * scale + 0.5), int(width * scale + 0.5)
    unchanged = (new_height, new_width) == (height, width)
    return frames if unchanged else resize(frames, new_height, new_width)


def random_crop(
    shape: tuple[int, ...], area: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draws a box `(top, left, height, width)` as MMAction2's `RandomResizedCrop` does.

    Ten candidates, area uniform and aspect ratio (width : height) log-uniform; the first that fits
    is placed uniformly, and if none fits, the largest centered square is taken.
    """
    height, width = shape
    narrowest, widest = np.log(ASPECT_RATIOS)
    aspects = np.exp(rng.uniform(narrowest, widest, CROP_ATTEMPTS))
    areas = rng.uniform(*area, CROP_ATTEMPTS) * (height * width)
    crop_heights = np.round(np.sqrt(areas / aspects)).astype(int)
    crop_widths = np.round(np.sqrt(areas * aspects)).astype(int)
    for crop_height, crop_width in zip(crop_heights, crop_widths, strict=True):
        # Nothing is left of a small share of a frame of a few pixels: no fit either.
        if 0 < crop_height <= height and 0 < crop_width <= width:
            left = rng.integers(width - crop_width, endpoint=True)
            top = rng.integers(height - crop_height, endpoint=True)
            return int(top), int(left), int(crop_height), int(crop_width)
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def three_crops(shape: tuple[int, ...], size: int) -> list[tuple[int, int]]:
    """The `(top, left)` corners of start, end and middle along the long side, in that order."""
    height, width = shape
    if height == size:
        step = (width - size) // 2
        return [(0, 0), (0, 2 * step), (0, step)]
    step = (height - size) // 2
    return [(0, 0), (2 * step, 0), (step, 0)]
