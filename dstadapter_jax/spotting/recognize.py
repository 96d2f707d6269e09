"""Finds the signs in a stream as it comes, and measures how fast."""

import logging
import time
from collections.abc import Iterable, Iterator

import numpy as np

from dstadapter_jax.adapters.spotting_settings import SpottingSettings
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.spotting.classifier import Outputs, SignClassifier
from dstadapter_jax.spotting.detector import Detection, detect
from dstadapter_jax.spotting.inference import FeatureFn, TickOutputs, infer_windows, make_feature_fn
from dstadapter_jax.spotting.sources import Frame
from dstadapter_jax.spotting.windows import SlidingWindows

logger = logging.getLogger(__name__)

HOPS_PER_BATCH = 8  # of a recording: several are computed in less time than one after the other


def spot_signs(
    recognizer: Recognizer,
    settings: SpottingSettings,
    batches: Iterable[list[Frame]],
    name: str,
    *,
    live: bool,
) -> Iterator[Detection]:
    """Yields the signs of a stream when they are known; at its end, however it ends, logs how fast.

    Args:
        recognizer: Which signs.
        settings: What makes one.
        batches: Of a source.
        name: The source's.
        live: Whether the source doesn't wait for us, so that each tick is computed at once.

    Raises:
        ClipError: The source can't be read on.
        DivergedError: What the model says isn't finite.
    """
    sliding = SlidingWindows(settings.window_seconds, recognizer.preprocess)
    at_once = 1 if live else HOPS_PER_BATCH
    report = _SpeedReport(name, live)
    network = make_feature_fn(recognizer.model)
    warm_up(network, at_once * sliding.num_lengths, recognizer.preprocess)
    report.start()
    ticks = infer_windows(report.frames(batches), sliding, report.timed(network), at_once)
    try:
        for sign in detect(
            report.ticks(ticks), SignClassifier.from_settings(settings), settings.window_seconds[-1]
        ):
            report.sign(sign)
            yield sign
    finally:
        report.log(settings.window_seconds[0])


def warm_up(network: FeatureFn, rows: int, cfg: PreprocessConfig) -> None:
    """Compiles before the first frame is read: a camera wouldn't wait for it."""
    network(np.zeros((rows, cfg.num_frames, cfg.resolution, cfg.resolution, 3), np.uint8))


class _SpeedReport:
    """Takes the time of what it passes on."""

    def __init__(self, name: str, live: bool):
        self._name, self._live = name, live
        self._num_frames, self._num_windows = 0, 0
        self._last, self._read_at = 0.0, 0.0  # of the newest frame: its own time, and the clock's
        self._passes: list[float] = []  # seconds of each pass of the network
        self._delays: list[float] = []  # seconds from a sign's end until it is told

    def start(self) -> None:
        """From now on the time counts."""
        self._start = time.monotonic()

    def frames(self, batches: Iterable[list[Frame]]) -> Iterator[list[Frame]]:
        """The same frames."""
        for frames in batches:
            self._num_frames += len(frames)
            self._last, self._read_at = frames[-1].seconds, time.monotonic()
            yield frames

    def timed(self, network: FeatureFn) -> FeatureFn:
        """The same network."""

        def passed(views: np.ndarray) -> Outputs:
            start = time.monotonic()
            outputs = network(views)
            self._passes.append(time.monotonic() - start)
            return outputs

        return passed

    def ticks(self, ticks: Iterable[TickOutputs]) -> Iterator[TickOutputs]:
        """The same ticks."""
        for tick in ticks:
            self._num_windows += len(tick.starts)
            yield tick

    def sign(self, sign: Detection) -> None:
        """Notes a sign that is told now: of a recording, by how far it has been read."""
        computing = time.monotonic() - self._read_at if self._live else 0.0
        self._delays.append(self._last - sign.end + computing)

    def log(self, shortest: float) -> None:
        """Says how fast it was, and how long after its end a sign was told."""
        seconds = time.monotonic() - self._start
        if not self._num_frames:  # an error says why
            return
        if not self._passes:
            logger.warning(
                "%s: nothing could be found: it is shorter than the shortest sign, %.2f s, or its"
                " frames are further apart",
                *(self._name, shortest),
            )
            return
        logger.info(
            "%s: %d frames in %.1f s, %.0f a second, %.1f times the video's speed; %.0f windows"
            " a second, %.0f ms a pass (95 %%: %.0f)",
            *(self._name, self._num_frames, seconds, self._num_frames / seconds),
            *(self._last / seconds, self._num_windows / seconds),
            *1000 * np.quantile(self._passes, (0.5, 0.95)),
        )
        if self._delays:
            logger.info(
                "%d signs, each told %.2f s after its end (median; 95 %%: %.2f)",
                *(len(self._delays), *np.quantile(self._delays, (0.5, 0.95))),
            )
