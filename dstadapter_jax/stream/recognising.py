"""Finds the signs in a stream as it comes, and measures how fast."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from dstadapter_jax.recogniser import Recogniser
from dstadapter_jax.stream.detecting import detect
from dstadapter_jax.stream.detector import Found
from dstadapter_jax.stream.looking import look
from dstadapter_jax.stream.network import make_network
from dstadapter_jax.stream.scoring import Outputs
from dstadapter_jax.stream.settings import StreamSettings
from dstadapter_jax.stream.sources import Frame
from dstadapter_jax.stream.windows import SlidingWindows

logger = logging.getLogger(__name__)

TICKS_AT_ONCE = 8  # of a recording: several are computed in less time than one after the other


def recognise_stream(
    recogniser: Recogniser,
    settings: StreamSettings,
    batches: Iterable[list[Frame]],
    name: str,
    *,
    live: bool,
) -> Iterator[Found]:
    """Yields the signs of a stream when they are known; at its end, however it ends, logs how fast.

    Args:
        recogniser: Which signs.
        settings: What makes one.
        batches: Of a source.
        name: The source's.
        live: Whether frames come when they come, so that each tick is computed at once.

    Raises:
        ClipError: The source can't be read on.
    """
    sliding = SlidingWindows(settings.window_seconds, recogniser.preprocess)
    at_once = 1 if live else TICKS_AT_ONCE
    watch = _Watch(make_network(recogniser.model), name)
    watch.warm_up(at_once * sliding.num_lengths, recogniser)
    looks = look(watch.counted(batches), sliding, watch.network, at_once)
    try:
        for known, sign in detect(looks, settings.no_sign, settings.window_seconds[-1]):
            watch.delays.append(known - sign.end)
            yield sign
    finally:
        watch.report()


class _Watch:
    """Takes the time of what it passes on."""

    def __init__(self, network: Callable[[np.ndarray], Outputs], name: str):
        self._network, self._name = network, name
        self._start = time.monotonic()
        self._frames, self._windows, self._last = 0, 0, 0.0
        self._seconds: list[float] = []  # of each pass of the network
        self.delays: list[float] = []  # seconds of the stream from a sign's end until it is told

    def warm_up(self, rows: int, recogniser: Recogniser) -> None:
        """Compiles before the first frame is read: a camera wouldn't wait for it."""
        cfg = recogniser.preprocess
        size = (rows, cfg.num_frames, cfg.resolution, cfg.resolution, 3)
        self._network(np.zeros(size, np.uint8))
        self._start = time.monotonic()

    def counted(self, batches: Iterable[list[Frame]]) -> Iterator[list[Frame]]:
        """The same frames."""
        for frames in batches:
            self._frames += len(frames)
            self._last = frames[-1][0]
            yield frames

    def network(self, views: np.ndarray) -> Outputs:
        """The same outputs."""
        start = time.monotonic()
        outputs = self._network(views)
        self._seconds.append(time.monotonic() - start)
        self._windows += len(views)
        return outputs

    def report(self) -> None:
        """Says how fast it was, and how long after its end a sign was told."""
        seconds = time.monotonic() - self._start
        if not self._frames or not self._seconds:
            return
        logger.info(
            "%s: %d frames in %.1f s, %.0f a second, %.1f times the video's speed; %.0f windows"
            " a second, %.0f ms a pass (95 %%: %.0f)",
            *(self._name, self._frames, seconds, self._frames / seconds, self._last / seconds),
            *(self._windows / seconds, *1000 * np.quantile(self._seconds, (0.5, 0.95))),
        )
        if self.delays:
            logger.info(
                "%d signs, each told %.2f s of video after its end (median; 95 %%: %.2f)",
                *(len(self.delays), *np.quantile(self.delays, (0.5, 0.95))),
            )
