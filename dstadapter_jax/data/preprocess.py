"""From decoded frames to the model's views, uint8: sample, resize, augment, crop, flip.

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
from dstadapter_jax.data.spatial import (
    margin,
    random_crop,
    resize,
    resize_short_side,
    three_crops,
)
from dstadapter_jax.data.views import REFERENCE_VIEWS, Views
from dstadapter_jax.errors import ConfigError

MODES = ("train", "validation", "test")


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
    if num_clips == 1:  # avoids a copy
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
        frames = resize_short_side(frames, margin(size))
        corners = [((frames.shape[1] - size) // 2, (frames.shape[2] - size) // 2)]
    else:
        frames = resize_short_side(frames, size)
        corners = three_crops(frames.shape[1:3], size)[-crops:]  # the middle one is the last
    distinct = list(dict.fromkeys(corners))
    views = np.stack([frames[:, top : top + size, left : left + size] for top, left in distinct])
    return views, np.array([corners.count(corner) for corner in distinct], np.int64)


def center_view(frame: np.ndarray, cfg: PreprocessConfig) -> np.ndarray:
    """A frame `(H, W, 3)` uint8 RGB as the middle test crop shows it, `(R, R, 3)`; again, as is."""
    views, _ = make_views(frame[np.newaxis], cfg, "test", crops=1)
    return views[0, 0]


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


def _augment(frames: np.ndarray, cfg: PreprocessConfig, rng: np.random.Generator) -> np.ndarray:
    frames = resize_short_side(frames, margin(cfg.resolution))
    frames = randaugment.rand_augment(
        frames, cfg.randaugment_layers, cfg.randaugment_magnitude, rng
    )
    top, left, height, width = random_crop(frames.shape[1:3], cfg.crop_area, rng)
    crops = frames[:, top : top + height, left : left + width]
    view = resize(crops, cfg.resolution, cfg.resolution)
    if rng.random() < cfg.flip_probability:
        return np.stack([cv2.flip(frame, 1) for frame in view])  # several times NumPy's speed
    return view


def preprocess_config(config: Mapping[str, Any]) -> PreprocessConfig:
    """The preprocessing of a run's config; frames and resolution are the model's."""
    model = config["model"]
    return PreprocessConfig(
        num_frames=model["num_frames"],
        resolution=model["input_resolution"],
        **config["preprocess"],
    )
