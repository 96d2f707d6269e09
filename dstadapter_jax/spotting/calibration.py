"""Calibration of sign spotting on streams composed of a dataset's clips."""

import logging
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from dstadapter_jax.adapters.spotting_settings import (
    FILE,
    MAX_SECONDS,
    MAX_WINDOWS,
    MIN_SECONDS,
    SpottingSettings,
)
from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.video.reader import DEFAULT_FPS
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.spotting.detector import detect
from dstadapter_jax.spotting.fit import count_detections, fit_sign_classifier, set_threshold
from dstadapter_jax.spotting.inference import FeatureFn, TickOutputs, infer_windows, make_feature_fn
from dstadapter_jax.spotting.recognize import HOPS_PER_BATCH
from dstadapter_jax.spotting.synthetic import Annotation, BackgroundFootage, ComposedStream
from dstadapter_jax.spotting.windows import ROUNDING, TICKS_A_WINDOW, SlidingWindows

logger = logging.getLogger(__name__)

NUM_CLIPS = 300  # of a split


FEW_SIGNS = 20


TICKS_TO_FIT = 4  # a window: neighbors teach little that is new


WIDEST_STEP = 1.5  # of a window's length to the next: each sign is as long as one, within a fifth


class Calibrator:
    """Composes streams of a dataset's clips and goes through them.

    Attributes:
        dataset: Whose.
    """

    def __init__(
        self, recognizer: Recognizer, dataset: ClipDataset, idle: BackgroundFootage, num_clips: int
    ):
        """With at most `num_clips` of a split; of a single sign raises ValueError."""
        if len(recognizer.label_names) < 2:
            raise ValueError(
                "expected a run of at least two signs: a sign is told from the others."
            )
        self._recognizer, self.dataset, self._idle = recognizer, dataset, idle
        self._num_clips = num_clips
        self._network: FeatureFn = make_feature_fn(recognizer.model)

    def window_seconds(self) -> tuple[float, ...]:
        """Lengths as training clips have them, but for the shortest and the longest of them."""
        source = self.dataset.source("train")
        clips = (source[number] for number in self._numbers("train"))
        seconds = [
            (int(clip["num_frames"]) - 1) / (float(clip["fps"]) or DEFAULT_FPS) for clip in clips
        ]
        ends = np.clip(np.quantile(seconds, (0.05, 0.95)), MIN_SECONDS, MAX_SECONDS)
        shortest, longest = ends.tolist()
        steps = math.ceil(math.log(longest / shortest) / math.log(WIDEST_STEP) - ROUNDING)
        steps = min(steps, MAX_WINDOWS - 1)
        return tuple(round(float(s), 3) for s in np.geomspace(shortest, longest, steps + 1))

    def go_through(
        self, split: str, lengths: tuple[float, ...], ticks: int = TICKS_A_WINDOW
    ) -> tuple[list[TickOutputs], list[Annotation]]:
        """What is seen in a stream of a split's clips, and what it shows."""
        source, numbers = self.dataset.source(split), self._numbers(split)
        progress = tqdm(numbers, split, unit="clip", disable=None, leave=False)
        examples = (source[number] for number in progress)
        decoder = self._recognizer.config["data"]["decoder"]
        stream = ComposedStream(examples, decoder, self._recognizer.preprocess, self._idle, seed=0)
        sliding = SlidingWindows(lengths, self._recognizer.preprocess, ticks)
        batches = ([frame] for frame in stream)
        outputs = list(infer_windows(batches, sliding, self._network, HOPS_PER_BATCH))
        return outputs, stream.shown

    def _numbers(self, split: str) -> Sequence[int]:
        """Which clips of a split, drawn once and for all."""
        count_detections = self.dataset.num_clips.get(split, 0)
        return np.random.default_rng(0).permutation(count_detections)[: self._num_clips].tolist()


def calibrate(calibrator: Calibrator) -> SpottingSettings:
    """Fits to the training split, sets the threshold on validation, measures on that and on test.

    Raises:
        ValueError: There are too few clips.
        ClipError: One can't be read.
        DivergedError: What the model says isn't finite.
    """
    lengths = calibrator.window_seconds()
    logger.info("windows of %s seconds", ", ".join(map(str, lengths)))
    plane = fit_sign_classifier(*calibrator.go_through("train", lengths, TICKS_TO_FIT))
    validation = calibrator.go_through("validation", lengths)
    if len(validation[1]) < FEW_SIGNS:
        logger.warning(
            "there are only %d validation clips: how sure to be hangs on chance", len(validation[1])
        )
    scorer = set_threshold(*validation, plane)
    streams = {"validation": validation}
    if calibrator.dataset.num_clips.get("test"):
        streams["test"] = calibrator.go_through("test", lengths)
    figures = {}
    for split, (ticks, shown) in streams.items():
        signs = list(detect(ticks, scorer, lengths[-1]))
        figures[split] = count_detections(signs, shown)._asdict()
    return SpottingSettings(
        window_seconds=lengths,
        weights=tuple(scorer.weights.tolist()),
        bias=scorer.bias,
        figures=figures,
    )


def calibrate_run(
    workdir: pathlib.Path,
    step: str = "best",
    data_dir: str = "",
    backbone: str = "",
    background: pathlib.Path | None = None,
    num_clips: int = NUM_CLIPS,
) -> dict[str, Any]:
    """Calibrates sign spotting for a checkpoint of a run and writes the settings to its workdir.

    Args:
        workdir: Workdir of the run.
        step: `best` by validation top-1, `last`, or a step number.
        data_dir: Folder of the dataset, if it has moved since training.
        backbone: Backbone file, if it has moved since training.
        background: Folder of background footage; None holds clips at their first and last frames.
        num_clips: Maximum number of clips of each split.

    Returns:
        Path of the settings, window lengths, and detection counts by split.
    """
    recognizer = Recognizer.load(workdir, step, backbone)
    data = recognizer.config["data"]
    dataset = open_dataset(data["name"], data_dir or data["dir"], data.get("test_signer", ""))
    footage = BackgroundFootage(background, recognizer.preprocess)
    settings = calibrate(Calibrator(recognizer, dataset, footage, num_clips))
    settings.save(workdir, recognizer.step)
    result = {"settings": str(workdir / FILE), "window_seconds": settings.window_seconds}
    return {**result, **settings.figures}
