"""Sign spotting in a stream, with a report of speed and latency."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from dstadapter_jax.adapters.schema import SpottingSettings
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.data.video.reader import ClipError
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.parallel.signals import Interrupted, StopRequest
from dstadapter_jax.spotting.classifier import Outputs, SignClassifier
from dstadapter_jax.spotting.detector import Detection, detect
from dstadapter_jax.spotting.inference import FeatureFn, HopOutputs, infer_windows, make_feature_fn
from dstadapter_jax.spotting.sources import PIPE, Frame, read_camera, read_video, until_stopped
from dstadapter_jax.spotting.windows import SlidingWindows

logger = logging.getLogger(__name__)

HOPS_PER_BATCH = 8  # for recordings: a batch takes less time than its hops one by one


def spot_videos(
    recognizer: Recognizer,
    settings: SpottingSettings,
    videos: Iterable[str],
    output: Callable[[dict[str, Any]], None],
) -> int:
    """Output the signs of videos, where ``-`` is standard input; returns the exit status."""
    return max(
        _spot(recognizer, settings, read_video(video), video, output, live=video == PIPE)
        for video in videos
    )


def spot_camera(
    recognizer: Recognizer,
    settings: SpottingSettings,
    camera: int,
    output: Callable[[dict[str, Any]], None],
) -> int:
    """Output the signs that a camera sees, until Ctrl-C; returns the exit status."""
    batches = read_camera(camera, recognizer.preprocess)
    return _spot(recognizer, settings, batches, f"camera {camera}", output, live=True)


def _spot(
    recognizer: Recognizer,
    settings: SpottingSettings,
    batches: Iterator[list[Frame]],
    name: str,
    output: Callable[[dict[str, Any]], None],
    *,
    live: bool,
) -> int:
    """Output the signs of one stream; Ctrl-C ends a live one normally."""
    with StopRequest() if live else contextlib.nullcontext() as stop:
        frames = until_stopped(batches, stop) if stop else batches
        try:
            for sign in spot_signs(recognizer, settings, frames, name, live=live):
                label = {"label": recognizer.label_names[sign.label], "id": sign.label}
                output({"video": name} | label | sign.to_json())
        except ClipError as error:
            output({"video": name, "error": error.reason})
            return 1
        signum = stop.requested if stop else 0
    return Interrupted(signum).status if signum else 0


def spot_signs(
    recognizer: Recognizer,
    settings: SpottingSettings,
    batches: Iterable[list[Frame]],
    name: str,
    *,
    live: bool,
) -> Iterator[Detection]:
    """Yield the signs of a stream as they are detected; finally log speed and latency.

    Args:
        recognizer: Trained model.
        settings: Window lengths and sign classifier.
        batches: Frames of a source.
        name: Name of the source, for the log.
        live: Whether the source does not wait, so that each hop is computed at once.

    Raises:
        ClipError: The source can't be read.
        NonFiniteOutputError: The model's outputs are not finite.
    """
    sliding = SlidingWindows(settings.window_seconds, recognizer.preprocess)
    batch_size = 1 if live else HOPS_PER_BATCH
    report = _SpeedReport(name, live)
    feature_fn = make_feature_fn(recognizer.model)
    warm_up(feature_fn, batch_size * sliding.num_lengths, recognizer.preprocess)
    report.start()
    hops = infer_windows(report.frames(batches), sliding, report.timed(feature_fn), batch_size)
    classifier = SignClassifier.from_settings(settings)
    try:
        for sign in detect(report.hops(hops), classifier, settings.window_seconds[-1]):
            report.sign(sign)
            yield sign
    finally:
        report.log(settings.window_seconds[0])


def warm_up(feature_fn: FeatureFn, rows: int, cfg: PreprocessConfig) -> None:
    """Compile before the first frame is read: a camera would not wait."""
    feature_fn(np.zeros((rows, cfg.num_frames, cfg.resolution, cfg.resolution, 3), np.uint8))


class _SpeedReport:
    """Measures iterators and functions that it wraps."""

    def __init__(self, name: str, live: bool):
        self._name, self._live = name, live
        self._num_frames, self._num_windows = 0, 0
        self._last, self._read_at = 0.0, 0.0  # newest frame: stream time and clock time
        self._passes: list[float] = []  # seconds per forward pass
        self._latencies: list[float] = []  # seconds from the end of a sign to its detection

    def start(self) -> None:
        """Start the clock."""
        self._start = time.monotonic()

    def frames(self, batches: Iterable[list[Frame]]) -> Iterator[list[Frame]]:
        """Pass frames through and count them."""
        for frames in batches:
            self._num_frames += len(frames)
            self._last, self._read_at = frames[-1].seconds, time.monotonic()
            yield frames

    def timed(self, feature_fn: FeatureFn) -> FeatureFn:
        """Wrap the network and measure its passes."""

        def measured(views: np.ndarray) -> Outputs:
            start = time.monotonic()
            outputs = feature_fn(views)
            self._passes.append(time.monotonic() - start)
            return outputs

        return measured

    def hops(self, hops: Iterable[HopOutputs]) -> Iterator[HopOutputs]:
        """Pass hops through and count their windows."""
        for hop in hops:
            self._num_windows += len(hop.starts)
            yield hop

    def sign(self, sign: Detection) -> None:
        """Record the latency of a sign detected now; for a recording, in stream time."""
        computing = time.monotonic() - self._read_at if self._live else 0.0
        self._latencies.append(self._last - sign.end + computing)

    def log(self, shortest: float) -> None:
        """Log speed and detection latency."""
        seconds = time.monotonic() - self._start
        if not self._num_frames:  # the caller reports an error
            return
        if not self._passes:
            logger.warning(
                "%s: no window could be filled: it is shorter than the shortest window, %.2f s, or"
                " its frame rate is too low",
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
        if self._latencies:
            logger.info(
                "%d signs, median latency %.2f s after the end of the sign (95 %%: %.2f)",
                *(len(self._latencies), *np.quantile(self._latencies, (0.5, 0.95))),
            )
