"""Where a run's time goes: waiting for clips, computing or saving; and the memory that it takes."""

import contextlib
import logging
import os
import queue
import resource
import sys
import threading
import time
from collections.abc import Iterator

import jax

logger = logging.getLogger(__name__)

INPUT_BOUND = 0.3  # share of the time spent waiting for clips from which on it is worth mending


class StepTimer:
    """Splits the time since the last line of the log without making the loop wait for the device.

    Steps are computed while the next ones are prepared, so that a wait for clips costs something
    only where the device has run out of work: a thread notes when it ended each step.
    """

    def __init__(self) -> None:
        self._given: queue.SimpleQueue[jax.Array | None] = queue.SimpleQueue()
        # Steps; the thread alone writes how many have ended, and when.
        self._begun = self._ended = 0
        self._idle_since = time.monotonic()
        # A daemon: if a peer died, the device may never end its step.
        self._thread = threading.Thread(target=self._watch, name="speed", daemon=True)
        self._thread.start()
        self._warm = self._warned = False
        self.restart()

    def restart(self) -> None:
        """Begins to measure anew."""
        self._started, self._steps = time.monotonic(), 0
        self._data = self._saving = 0.0

    def close(self) -> None:
        """Ends the thread, unless the device holds it."""
        self._given.put(None)
        self._thread.join(timeout=5)

    def _watch(self) -> None:
        while (result := self._given.get()) is not None:
            with contextlib.suppress(Exception):  # which the loop meets, too
                result.block_until_ready()
            self._idle_since = time.monotonic()
            self._ended += 1

    @contextlib.contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Around what gets the next batch."""
        begun = time.monotonic()
        yield
        if self._ended == self._begun:
            self._data += time.monotonic() - max(begun, self._idle_since)

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Around what begins to save."""
        begun = time.monotonic()
        yield
        self._saving += time.monotonic() - begun

    def step(self, result: jax.Array) -> None:
        """Tells of a step that the device was given, and what it will have computed at its end."""
        self._steps += 1
        self._begun += 1
        self._given.put(result)

    def metrics(self, batch_size: int) -> dict[str, float]:
        """Clips a second, the seconds a step by where they went, and the peaks of memory in GB."""
        total = time.monotonic() - self._started
        seconds = {
            "data_seconds": self._data / self._steps,
            "compute_seconds": (total - self._data - self._saving) / self._steps,
            "save_seconds": self._saving / self._steps,
        }
        self._warn(self._data / total)
        self._warm = True
        return {"clips_per_second": self._steps * batch_size / total, **seconds, **_memory()}

    def _warn(self, waiting: float) -> None:
        """Once; the first line's steps fill the pipeline and compile the program."""
        if self._warm and not self._warned and waiting > INPUT_BOUND:
            self._warned = True
            logger.warning(
                "the input pipeline holds the run back: %d %% of the time goes into waiting for"
                " clips. If config.data.name is an original storage, train on frames; if not all of"
                " this machine's %d cores are busy, raise --config.data.num_threads.",
                *(100 * waiting, os.cpu_count()),
            )


def _memory() -> dict[str, float]:
    unit = 1 if sys.platform == "darwin" else 1024  # of what the kernel counts in, bytes or KiB
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    stats = [device.memory_stats() for device in jax.local_devices()]
    devices = [stat["peak_bytes_in_use"] for stat in stats if stat]  # CPUs keep none
    return {"host_gb": host / 1e9} | ({"device_gb": max(devices) / 1e9} if devices else {})
