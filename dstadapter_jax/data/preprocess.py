"""From decoded frames to the model's input: sample, resize, augment, crop, flip, normalize.

`preprocess` is the only way, for training, evaluation and prediction. NumPy in, NumPy out; every
random choice is made once per clip, from the given generator. The steps are MMAction2's
(`mmaction/datasets/transforms`: `UniformSample`, `Resize`, `RandomResizedCrop`, `CenterCrop`,
`ThreeCrop`, `Flip`), as the reference uses them.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np

from dstadapter_jax.data import randaugment
from dstadapter_jax.data.views import REFERENCE_VIEWS, Views
from dstadapter_jax.errors import ConfigError

# Clips are loaded by many threads at once: a pool of OpenCV's own below each of them would only
# make them wait for one another. It holds for the whole process, so here alone.
cv2.setNumThreads(0)

# CLIP's, rounded as the reference has them; RGB, 0-255 scale.
IMAGE_MEAN = np.array([122.769, 116.74, 104.04], np.float32)
IMAGE_STD = np.array([68.493, 66.63, 70.321], np.float32)

MODES = ("train", "validation", "test")
ASPECT_RATIOS = (3 / 4, 4 / 3)
CROP_ATTEMPTS = 10


@dataclasses.dataclass(frozen=True)
class PreprocessConfig:
    """Preprocessing settings.

    Attributes:
        num_frames: Number of frames sampled from a video.
        resolution: Side of the square views in pixels.
        randaugment_layers: RandAugment operations drawn for a training clip; 0 turns it off.
        randaugment_magnitude: mean level of these operations, 0 to 10.
        crop_area: smallest and largest share of the frame that a training crop covers.
        flip_probability: of mirroring a training clip.

    Raises:
        ValueError: a value is out of its range.
    """

    num_frames: int = 8
    resolution: int = 224
    randaugment_layers: int = 4
    randaugment_magnitude: float = 7
    crop_area: tuple[float, float] = (0.08, 1.0)
    flip_probability: float = 0.5

    def __post_init__(self) -> None:
        smallest, largest = self.crop_area if len(self.crop_area) == 2 else (0, 0)
        layers, level = len(randaugment.OPERATIONS), randaugment.MAX_LEVEL
        for field, valid, expected in (
            ("num_frames", self.num_frames >= 1, "at least 1"),
            ("resolution", self.resolution >= 1, "at least 1"),
            ("randaugment_layers", 0 <= self.randaugment_layers <= layers, f"0 to {layers}"),
            ("randaugment_magnitude", 0 <= self.randaugment_magnitude <= level, f"0 to {level}"),
            ("crop_area", 0 < smallest <= largest <= 1, "(smallest, largest) within (0, 1]"),
            ("flip_probability", 0 <= self.flip_probability <= 1, "0 to 1"),
        ):
            if not valid:
                found = getattr(self, field)
                raise ConfigError(f"preprocess.{field}", expected=expected, found=found)


def preprocess(
    num_frames: int,
    read: Callable[[np.ndarray], np.ndarray],
    cfg: PreprocessConfig,
    mode: str,
    rng: np.random.Generator | None = None,
    *,
    views: Views = REFERENCE_VIEWS,
) -> tuple[np.ndarray, np.ndarray]:
    """Sample a video's frames and turn them into the model's views, not yet normalized.

    Args:
        num_frames: frames in the video.
        read: takes `(N,)` int64 frame indices, which rise and may repeat, `cfg.num_frames` of them
            for each clip, and returns these frames, `(N, H, W, 3)` uint8 RGB.
        cfg: what to do.
        mode: one of `MODES`.
        rng: source of every random choice; required for "train", not used otherwise.
        views: which ones "test" takes; the other modes have one.

    Returns:
        Views and counts, as `make_views` gives them, those of the first clip first.

    Raises:
        ValueError: the video or an argument can't be used; the message says why.
    """
    num_clips = views.segments if mode == "test" else 1
    chosen = np.concatenate(
        [
            choose_frames(num_frames, cfg, mode, rng, clip=clip, num_clips=num_clips)
            for clip in range(num_clips)
        ]
    )
    order = np.argsort(chosen, kind="stable")
    indices = chosen[order]  # of all clips in the video's order: it is read through once
    frames = read(indices)
    if len(frames) != len(indices):
        raise ValueError(f"expected {len(indices)} frames for {indices}, read {len(frames)}")
    if num_clips == 1:  # with nothing to copy
        return make_views(frames, cfg, mode, rng, crops=views.crops)
    clips = frames[np.argsort(order)].reshape(num_clips, -1, *frames.shape[1:])
    made = [make_views(clip, cfg, mode, rng, crops=views.crops) for clip in clips]
    pixels, counts = zip(*made, strict=True)
    return np.concatenate(pixels), np.concatenate(counts)


def choose_frames(
    num_frames: int,
    cfg: PreprocessConfig,
    mode: str,
    rng: np.random.Generator | None = None,
    *,
    clip: int = 0,
    num_clips: int = 1,
) -> np.ndarray:
    """Chooses one frame out of each of `cfg.num_frames` equal segments of the video.

    At random in training; else at a fixed place, which is for the k-th of K clips `(k + 1)/(K + 1)`
    of a segment behind its start (MMAction2's `UniformSample`, `test_mode`).

    Args:
        num_frames: frames in the video, at least 1.
        cfg: gives the number of segments.
        mode: one of `MODES`.
        rng: required for "train", not used otherwise.
        clip: which clip of the video, from 0; training draws afresh instead.
        num_clips: into how many clips the video is sampled.

    Returns:
        `(cfg.num_frames,)` int64, rising, repeated where the video has too few frames.

    Raises:
        ValueError: no frames, no such mode, no such clip, or no `rng` in training.
    """
    _check_mode(mode)
    if num_frames < 1:
        raise ValueError(f"expected a video of at least one frame, found {num_frames}")
    if not 0 <= clip < num_clips:
        raise ValueError(f"expected clip in [0, num_clips={num_clips}), found {clip}")
    segment = (num_frames - 1) / cfg.num_frames
    bounds = np.round(segment * np.arange(cfg.num_frames + 1)).astype(np.int64)
    if mode == "train":
        return _require(rng).integers(bounds[:-1], bounds[1:], endpoint=True)
    return bounds[:-1] + int(segment / (num_clips + 1) * (clip + 1))


def make_views(
    frames: np.ndarray,
    cfg: PreprocessConfig,
    mode: str,
    rng: np.random.Generator | None = None,
    *,
    crops: int = REFERENCE_VIEWS.crops,
) -> tuple[np.ndarray, np.ndarray]:
    """Resizes, augments and crops a clip.

    Views that would be the same pixels are made once: the three test crops of a square video are
    one view that counts three times in the mean over views.

    Args:
        frames: `(T, H, W, 3)` uint8 RGB; not changed.
        cfg: what to do.
        mode: one of `MODES`.
        rng: required for "train", not used otherwise.
        crops: of "test": 3, or 1, the middle one.

    Returns:
        Views `(V, T, R, R, 3)` uint8 with `R = cfg.resolution`, and `(V,)` int64, how many of the
        mode's crops each stands for: V is 1 in training and validation, at most `crops` in test.

    Raises:
        ValueError: not such frames, too oblong ones, no such mode, or no `rng` in training.
    """
    _check_mode(mode)
    _check_frames(frames)
    size = cfg.resolution
    if mode == "train":
        return _augment(frames, cfg, _require(rng))[np.newaxis], np.ones(1, np.int64)
    if mode == "validation":
        frames = _resize_short_side(frames, _margin(size))
        corners = [((frames.shape[1] - size) // 2, (frames.shape[2] - size) // 2)]
    else:
        frames = _resize_short_side(frames, size)
        corners = _three_crops(frames.shape[1:3], size)[-crops:]  # the middle one is the last
    distinct = list(dict.fromkeys(corners))
    views = np.stack([frames[:, top : top + size, left : left + size] for top, left in distinct])
    return views, np.array([corners.count(corner) for corner in distinct], np.int64)


def center_view(frame: np.ndarray, cfg: PreprocessConfig) -> np.ndarray:
    """A frame `(H, W, 3)` uint8 RGB as the middle test crop shows it, `(R, R, 3)`; again, as is."""
    views, _ = make_views(frame[np.newaxis], cfg, "test", crops=1)
    return views[0, 0]


def normalize(clips: Any) -> Any:
    """Normalizes RGB values of 0-255 by CLIP's mean and standard deviation.

    Args:
        clips: `(..., 3)` NumPy or JAX array, uint8 or floating point; may be traced by `jax.jit`.

    Returns:
        The same kind of array, float32.

    Raises:
        ValueError: the last axis isn't RGB.
    """
    if clips.ndim == 0 or clips.shape[-1] != 3:
        raise ValueError(f"expected clips of shape (..., 3), RGB last, found {clips.shape}")
    return (clips.astype(np.float32) - IMAGE_MEAN) / IMAGE_STD


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r}: expected one of {', '.join(MODES)}")


def _require(rng: np.random.Generator | None) -> np.random.Generator:
    if not isinstance(rng, np.random.Generator):
        raise ValueError(
            "mode 'train' makes random choices: expected rng, a numpy.random.Generator such as "
            f"numpy.random.default_rng(seed), found {rng!r}"
        )
    return rng


def _check_frames(frames: np.ndarray) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(
            "expected frames (T, H, W, 3), uint8 RGB, T, H and W at least 1, found shape "
            f"{frames.shape}, {frames.dtype}"
        )


def _margin(resolution: int) -> int:
    """The short side to crop `resolution` out of: the reference's 256 for 224, in proportion."""
    return round(resolution * 256 / 224)


def _resize(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.stack(
        [cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in frames]
    )


def _resize_short_side(frames: np.ndarray, short_side: int) -> np.ndarray:
    # Sides as `mmcv.rescale_size` rounds them.
    height, width = frames.shape[1:3]
    scale = short_side / min(height, width)
    new_height, new_width = int(height * scale + 0.5), int(width * scale + 0.5)
    unchanged = (new_height, new_width) == (height, width)
    return frames if unchanged else _resize(frames, new_height, new_width)


def _augment(frames: np.ndarray, cfg: PreprocessConfig, rng: np.random.Generator) -> np.ndarray:
    frames = _resize_short_side(frames, _margin(cfg.resolution))
    frames = randaugment.rand_augment(
        frames, cfg.randaugment_layers, cfg.randaugment_magnitude, rng
    )
    top, left, height, width = _random_crop(frames.shape[1:3], cfg.crop_area, rng)
    crops = frames[:, top : top + height, left : left + width]
    view = _resize(crops, cfg.resolution, cfg.resolution)
    if rng.random() < cfg.flip_probability:
        return np.stack([cv2.flip(frame, 1) for frame in view])  # several times NumPy's speed
    return view


def _random_crop(
    shape: tuple[int, ...], area: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draws a box `(top, left, height, width)` as MMAction2's `RandomResizedCrop` does.

    Ten candidates, area uniform and aspect ratio (width : height) log-uniform; the first that fits
    is placed uniformly, and if none fits, the largest centerd square is taken.
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


def _three_crops(shape: tuple[int, ...], size: int) -> list[tuple[int, int]]:
    """The `(top, left)` corners of start, end and middle along the long side, in that order."""
    height, width = shape
    if height == size:
        step = (width - size) // 2
        return [(0, 0), (0, 2 * step), (0, step)]
    step = (height - size) // 2
    return [(0, 0), (2 * step, 0), (step, 0)]


def preprocess_config(config: Mapping[str, Any]) -> PreprocessConfig:
    """The preprocessing of a run's config; frames and resolution are the model's."""
    model = config["model"]
    return PreprocessConfig(
        num_frames=model["num_frames"],
        resolution=model["input_resolution"],
        **config["preprocess"],
    )
