"""Time per training step spent on data, computing and saving, and peak memory."""

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

INPUT_BOUND = 0.3  # share of time spent waiting for data that triggers a warning


class StepTimer:
    """Timer of the steps since the last log row; it never makes the loop wait for the device.

    The device computes a step while the host loads the next batch, so waiting for data costs time
    only while the device is idle. A thread records when the device finishes each step.
    """

    def __init__(self) -> None:
        self._pending: queue.SimpleQueue[jax.Array | None] = queue.SimpleQueue()
        # Counts of steps; only the thread writes the number and time of finished ones.
        self._started_steps = self._finished_steps = 0
        self._idle_since = time.monotonic()
        # A daemon: if another process died, the device may never finish its step.
        self._thread = threading.Thread(target=self._watch, name="step timer", daemon=True)
        self._thread.start()
        self._warm = self._warned = False
        self.restart()

    def restart(self) -> None:
        """Start a new measurement."""
        self._started, self._steps = time.monotonic(), 0
        self._data = self._saving = 0.0

    def close(self) -> None:
        """Stop the thread, unless the device blocks it."""
        self._pending.put(None)
        self._thread.join(timeout=5)

    def _watch(self) -> None:
        while (result := self._pending.get()) is not None:
            with contextlib.suppress(Exception):  # the loop raises it, too
                result.block_until_ready()
            self._idle_since = time.monotonic()
            self._finished_steps += 1

    @contextlib.contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Measure the block that gets the next batch."""
        begun = time.monotonic()
        yield
        if self._finished_steps == self._started_steps:
            self._data += time.monotonic() - max(begun, self._idle_since)

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Measure the block that starts a save."""
        begun = time.monotonic()
        yield
        self._saving += time.monotonic() - begun

    def step(self, result: jax.Array) -> None:
        """Record a dispatched step by its result, which is ready when the step is finished."""
        self._steps += 1
        self._started_steps += 1
        self._pending.put(result)

    def metrics(self, batch_size: int) -> dict[str, float]:
        """Clips per second, seconds per step by category, and peak memory in GB."""
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
        """Warn once; not for the first row, whose steps include compilation."""
        if self._warm and not self._warned and waiting > INPUT_BOUND:
            self._warned = True
            logger.warning(
                "training is input-bound: %d %% of the time is spent waiting for data. If"
                " config.data.name is an original storage, train on frames. If not all of this"
                " machine's %d cores are busy, raise --config.data.num_threads.",
                *(100 * waiting, os.cpu_count()),
            )


def _memory() -> dict[str, float]:
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, else KiB
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    stats = [device.memory_stats() for device in jax.local_devices()]
    devices = [stat["peak_bytes_in_use"] for stat in stats if stat]  # CPUs have none
    return {"host_gb": host / 1e9} | ({"device_gb": max(devices) / 1e9} if devices else {})
