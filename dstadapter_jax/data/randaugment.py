"""RandAugment for video: 14 operations on uint8 clips, each drawn once a clip.

The draw is PyTorchVideo's (`pytorchvideo.transforms.RandAugment`), with which the reference trains;
the operations are torchvision's functional ones for uint8 tensors, bilinear, done by OpenCV and
NumPy. Point and filter operations equal torchvision's exactly, geometric ones to one gray level.

Paper: Cubuk et al., "RandAugment", https://arxiv.org/abs/1909.13719
"""

from collections.abc import Callable

import cv2
import numpy as np

APPLY_PROBABILITY = 0.5
MAX_LEVEL = 10
LEVEL_STD = 0.5
FILL = 0.5  # PyTorchVideo's fill, meant for 0-1 data; on 0-255 data it is practically black

# Operations whose value is `base ± level / MAX_LEVEL * range`: (base, range).
SIGNED_RANGES = {
    "AdjustBrightness": (1.0, 0.9),
    "AdjustContrast": (1.0, 0.9),
    "AdjustSaturation": (1.0, 0.9),
    "AdjustSharpness": (1.0, 0.9),
    "Rotate": (0.0, 30.0),
    "ShearX": (0.0, 0.3),
    "ShearY": (0.0, 0.3),
    "TranslateX": (0.0, 0.45),
    "TranslateY": (0.0, 0.45),
}

_LEVELS = np.arange(256, dtype=np.uint8)
# torchvision's luma weights; they sum to 0.9999, so that white becomes 254.
_LUMA = np.array([0.2989, 0.587, 0.114], np.float32)
_SHARPNESS_KERNEL = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def rand_augment(
    clip: np.ndarray, num_layers: int, magnitude: float, rng: np.random.Generator
) -> np.ndarray:
    """Applies up to `num_layers` randomly drawn operations, the same ones to every frame.

    Args:
        clip: `(T, H, W, 3)` uint8 RGB; not changed.
        num_layers: operations drawn, 0 to 14; each is then applied with probability 0.5.
        magnitude: mean level of the operations, 0 to 10.
        rng: the only source of randomness.

    Returns:
        `(T, H, W, 3)` uint8; `clip` itself where nothing was drawn.
    """
    for name, value in draw_operations(num_layers, magnitude, rng):
        clip = OPERATIONS[name](clip, value)
    return clip


def draw_operations(
    num_layers: int, magnitude: float, rng: np.random.Generator
) -> list[tuple[str, float]]:
    """Draws the operations to apply and their values: `(name, value)`, in order.

    Raises:
        ValueError: more distinct operations are asked for than there are.
    """
    if not 0 <= num_layers <= len(OPERATIONS):
        raise ValueError(
            f"RandAugment draws distinct operations out of {len(OPERATIONS)}: expected 0 to "
            f"{len(OPERATIONS)} layers, found {num_layers}."
        )
    drawn = []
    for name in rng.choice(list(OPERATIONS), size=num_layers, replace=False):
        if rng.random() < APPLY_PROBABILITY:
            level = float(np.clip(rng.normal(magnitude, LEVEL_STD), 0, MAX_LEVEL))
            drawn.append((str(name), _draw_value(name, level, rng)))
    return drawn


def _draw_value(name: str, level: float, rng: np.random.Generator) -> float:
    fraction = level / MAX_LEVEL
    if name == "Posterize":
        return 4 - int(fraction * 4)  # bits kept
    if name == "Solarize":
        return 1 - fraction  # threshold, of 255
    base, span = SIGNED_RANGES.get(name, (0.0, 0.0))  # the rest take no value
    return base + fraction * span * rng.choice((-1, 1))


def _luma(frame: np.ndarray) -> np.ndarray:
    red, green, blue = cv2.split(frame)  # contiguous planes are several times faster below
    # float32 and truncated, as torchvision does it: `cv2.cvtColor` rounds.
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).astype(np.uint8)


def _blend(image: np.ndarray, other: np.ndarray | np.float32, ratio: float) -> np.ndarray:
    # np.float32, since a Python float would turn the whole image into float64.
    mixed = np.float32(ratio) * image
    mixed += np.float32(1 - ratio) * other
    return np.clip(mixed, 0, 255, out=mixed).astype(np.uint8)


def _map_levels(clip: np.ndarray, table: np.ndarray) -> np.ndarray:
    return np.stack([cv2.LUT(frame, table) for frame in clip])


def _map_frames(clip: np.ndarray, channel_table: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Maps each channel of each frame by the table `channel_table` makes of its histogram."""
    mapped = []
    for frame in clip:
        counts = [cv2.calcHist([frame], [c], None, [256], [0, 256]).ravel() for c in range(3)]
        table = np.stack([channel_table(count.astype(np.int64)) for count in counts], axis=-1)
        mapped.append(cv2.LUT(frame, table[np.newaxis]))
    return np.stack(mapped)


def _autocontrast_table(histogram: np.ndarray) -> np.ndarray:
    low, high = np.flatnonzero(histogram)[[0, -1]]
    if low == high:
        return _LEVELS
    stretched = (_LEVELS - np.float32(low)) * (np.float32(255) / np.float32(high - low))
    return np.clip(stretched, 0, 255).astype(np.uint8)


def _equalize_table(histogram: np.ndarray) -> np.ndarray:
    brightest = np.flatnonzero(histogram)[-1]
    step = (histogram.sum() - histogram[brightest]) // 255
    if step == 0:
        return _LEVELS
    below = np.cumsum(histogram) - histogram
    return np.clip((below + step // 2) // step, 0, 255).astype(np.uint8)


def _adjust_brightness(clip: np.ndarray, factor: float) -> np.ndarray:
    return _map_levels(clip, _blend(_LEVELS, np.float32(0), factor))


def _adjust_contrast(clip: np.ndarray, factor: float) -> np.ndarray:
    tables = (_blend(_LEVELS, np.float32(_luma(frame).mean()), factor) for frame in clip)
    return np.stack([cv2.LUT(frame, table) for frame, table in zip(clip, tables, strict=True)])


def _adjust_saturation(clip: np.ndarray, factor: float) -> np.ndarray:
    return np.stack([_blend(frame, cv2.merge([_luma(frame)] * 3), factor) for frame in clip])


def _adjust_sharpness(clip: np.ndarray, factor: float) -> np.ndarray:
    sharpened = []
    for frame in clip:
        blurred = frame.copy()  # torchvision leaves the outermost pixels unblurred
        blurred[1:-1, 1:-1] = cv2.filter2D(frame, -1, _SHARPNESS_KERNEL)[1:-1, 1:-1]
        sharpened.append(_blend(frame, blurred, factor))
    return np.stack(sharpened)


def _auto_contrast(clip: np.ndarray, _: float) -> np.ndarray:
    return _map_frames(clip, _autocontrast_table)


def _equalize(clip: np.ndarray, _: float) -> np.ndarray:
    return _map_frames(clip, _equalize_table)


def _invert(clip: np.ndarray, _: float) -> np.ndarray:
    return 255 - clip


def _posterize(clip: np.ndarray, bits: float) -> np.ndarray:
    return clip & np.uint8(256 - 2 ** (8 - int(bits)) & 255)


def _solarize(clip: np.ndarray, threshold: float) -> np.ndarray:
    return _map_levels(clip, np.where(int(threshold * 255) <= _LEVELS, 255 - _LEVELS, _LEVELS))


def _warp(clip: np.ndarray, linear: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    """Samples `clip` bilinearly at `linear @ (x, y) + shift`, x and y from the frame's center."""
    height, width = clip.shape[1:3]
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.column_stack([linear, center + shift - linear @ center])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

    def sample(image: np.ndarray) -> np.ndarray:
        return cv2.warpAffine(
            image, matrix, (width, height), flags=flags, hint=cv2.ALGO_HINT_ACCURATE
        )

    warped = np.stack([sample(frame) for frame in clip])
    # At the border torchvision scales a sample by its share inside the frame twice: interpolating
    # with zeros, and again blending with the fill. This is the second scaling, of border pixels.
    inside = sample(np.ones((height, width), np.float32))
    seam = (inside > 0) & (inside < 1)
    share = inside[seam][:, np.newaxis]
    warped[:, seam] = np.rint(warped[:, seam] * share + FILL * (1 - share)).astype(np.uint8)
    return warped


def _rotate(clip: np.ndarray, degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return _warp(clip, np.array([[cos, -sin], [sin, cos]]), (0, 0))


def _shear_x(clip: np.ndarray, factor: float) -> np.ndarray:
    # PyTorchVideo's shift by half the sheared extent: the top edge stays, not the center.
    return _warp(clip, np.array([[1, factor], [0, 1]]), (clip.shape[1] * factor / 2, 0))


def _shear_y(clip: np.ndarray, factor: float) -> np.ndarray:
    return _warp(clip, np.array([[1, 0], [factor, 1]]), (0, clip.shape[2] * factor / 2))


def _translate_x(clip: np.ndarray, factor: float) -> np.ndarray:
    return _warp(clip, np.eye(2), (factor * clip.shape[2], 0))


def _translate_y(clip: np.ndarray, factor: float) -> np.ndarray:
    return _warp(clip, np.eye(2), (0, factor * clip.shape[1]))


# Each takes a clip `(T, H, W, 3)` uint8 and a value, and returns a new clip of the same shape.
OPERATIONS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "AdjustBrightness": _adjust_brightness,
    "AdjustContrast": _adjust_contrast,
    "AdjustSaturation": _adjust_saturation,
    "AdjustSharpness": _adjust_sharpness,
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Invert": _invert,
    "Rotate": _rotate,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
}
