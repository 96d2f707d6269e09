"""Calibration of sign spotting on streams composed of a dataset's clips."""

import logging
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from tqdm import tqdm

from dstadapter_jax.adapters.schema import DetectionCounts, SpottingSettings
from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.video.reader import DEFAULT_FPS
from dstadapter_jax.errors import UserError
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.spotting.detector import detect
from dstadapter_jax.spotting.fit import count_detections, fit_sign_classifier, set_threshold
from dstadapter_jax.spotting.inference import HopOutputs, infer_windows, make_feature_fn
from dstadapter_jax.spotting.recognize import HOPS_PER_BATCH
from dstadapter_jax.spotting.settings import FILE, save_settings
from dstadapter_jax.spotting.synthetic import Annotation, BackgroundFootage, ComposedStream
from dstadapter_jax.spotting.windows import HOPS_PER_WINDOW, TIME_TOLERANCE, SlidingWindows

logger = logging.getLogger(__name__)

NUM_CLIPS = 300  # per split
MIN_SIGNS = 20  # fewer validation clips make the threshold unreliable
HOPS_TO_FIT = 4  # per window: adjacent windows add little information
MAX_LENGTH_RATIO = 1.5  # of adjacent window lengths: every sign is within 22 % of one
WINDOW_QUANTILES = (0.05, 0.95)  # of the training clips' lengths
MIN_SECONDS, MAX_SECONDS, MAX_WINDOWS = 0.1, 60.0, 16  # bounds of the settings' schema

AnnotatedHops = tuple[list[HopOutputs], list[Annotation]]


class Calibrator:
    """Composes streams of a dataset's clips and runs the network on them."""

    def __init__(
        self,
        recognizer: Recognizer,
        dataset: ClipDataset,
        background: BackgroundFootage,
        num_clips: int,
    ):
        """Initialize with at most `num_clips` per split; raises UserError for a single class."""
        if len(recognizer.label_names) < 2:
            raise UserError("run", expected="at least two classes", found=1)
        self._recognizer, self.dataset = recognizer, dataset
        self._background, self._num_clips = background, num_clips
        self._feature_fn = make_feature_fn(recognizer.model)

    def window_seconds(self) -> tuple[float, ...]:
        """Window lengths that cover the lengths of the training clips, without the extremes."""
        source = self.dataset.source("train")
        clips = (source[number] for number in self._clip_numbers("train"))
        seconds = [
            (int(clip["num_frames"]) - 1) / (float(clip["fps"]) or DEFAULT_FPS) for clip in clips
        ]
        ends = np.clip(np.quantile(seconds, WINDOW_QUANTILES), MIN_SECONDS, MAX_SECONDS)
        shortest, longest = ends.tolist()
        ratio = math.log(longest / shortest) / math.log(MAX_LENGTH_RATIO)
        steps = min(math.ceil(ratio - TIME_TOLERANCE), MAX_WINDOWS - 1)
        return tuple(round(float(s), 3) for s in np.geomspace(shortest, longest, steps + 1))

    def run_stream(
        self, split: str, lengths: tuple[float, ...], hops_per_window: int = HOPS_PER_WINDOW
    ) -> AnnotatedHops:
        """Network outputs for a stream of a split's clips, and its annotations."""
        source, numbers = self.dataset.source(split), self._clip_numbers(split)
        progress = tqdm(numbers, split, unit="clip", disable=None, leave=False)
        examples = (source[number] for number in progress)
        decoder = self._recognizer.config["data"]["decoder"]
        cfg = self._recognizer.preprocess
        stream = ComposedStream(examples, decoder, cfg, self._background, seed=0)
        sliding = SlidingWindows(lengths, cfg, hops_per_window)
        batches = ([frame] for frame in stream)
        outputs = list(infer_windows(batches, sliding, self._feature_fn, HOPS_PER_BATCH))
        return outputs, stream.annotations

    def _clip_numbers(self, split: str) -> Sequence[int]:
        """Fixed random selection of a split's clips."""
        count = self.dataset.num_clips.get(split, 0)
        return np.random.default_rng(0).permutation(count)[: self._num_clips].tolist()


def calibrate(calibrator: Calibrator) -> SpottingSettings:
    """Fit on the training split, set the threshold on validation, and measure on both others.

    Raises:
        UserError: There are too few clips.
        ClipError: A clip can't be read.
        NonFiniteOutputError: The model's outputs are not finite.
    """
    lengths = calibrator.window_seconds()
    logger.info("window lengths: %s seconds", ", ".join(map(str, lengths)))
    classifier = fit_sign_classifier(*calibrator.run_stream("train", lengths, HOPS_TO_FIT))
    validation = calibrator.run_stream("validation", lengths)
    if len(validation[1]) < MIN_SIGNS:
        logger.warning("only %d validation clips: the threshold is unreliable", len(validation[1]))
    classifier = set_threshold(*validation, classifier)
    streams = {"validation": validation}
    if calibrator.dataset.num_clips.get("test"):
        streams["test"] = calibrator.run_stream("test", lengths)
    metrics: dict[Any, DetectionCounts] = {}
    for split, (hops, annotations) in streams.items():
        signs = list(detect(hops, classifier, lengths[-1]))
        metrics[split] = count_detections(signs, annotations)
    return SpottingSettings(
        window_seconds=lengths,
        weights=tuple(classifier.weights.tolist()),
        bias=classifier.bias,
        metrics=metrics,
    )


def calibrate_run(
    workdir: pathlib.Path,
    step: str = "best",
    data_dir: str = "",
    backbone: str = "",
    background: pathlib.Path | None = None,
    num_clips: int = NUM_CLIPS,
) -> SpottingSettings:
    """Calibrate sign spotting for a checkpoint of a run and write `spotting.json` to its workdir.

    Args:
        workdir: Workdir of the run.
        step: `best` by validation top-1, `last`, or a step number.
        data_dir: Folder of the dataset, if it has moved since training.
        backbone: Backbone file, if it has moved since training.
        background: Folder of background footage. If None, gaps between clips repeat the last frame
            of one clip and the first frame of the next.
        num_clips: Maximum number of clips per split.
    """
    recognizer = Recognizer.load(workdir, step, backbone)
    data = recognizer.config["data"]
    dataset = open_dataset(data["name"], data_dir or data["dir"], data["test_signer"])
    footage = BackgroundFootage(background, recognizer.preprocess)
    settings = calibrate(Calibrator(recognizer, dataset, footage, num_clips))
    save_settings(settings, workdir, recognizer.step)
    return settings


def summary(settings: SpottingSettings, workdir: pathlib.Path) -> dict[str, Any]:
    """Path of the settings, window lengths and detection counts by split, for JSON."""
    result = {"settings": str(workdir / FILE), "window_seconds": settings.window_seconds}
    return result | msgspec.to_builtins(settings.metrics)
