"""Step time, split into data, compute and checkpointing, device-hours, and memory."""

import contextlib
import logging
import os
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

logger = logging.getLogger(__name__)

INPUT_BOUND = 0.3  # fraction of time spent waiting for clips above which a warning is logged


class StepTimer:
    """Timer of training steps since the last `restart`.

    The device computes a step while the host waits for the next batch. Only the part of the wait
    after the device has finished counts as data time, so a thread records when each step ends.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="step timer")
        self._last_step_end = self._executor.submit(time.monotonic)
        self._warmed_up = self._warned = False
        self.restart()

    def restart(self) -> None:
        """Start measuring from zero."""
        self._started, self._steps = time.monotonic(), 0
        self._data = self._saving = 0.0

    def close(self) -> None:
        """Stop the thread without waiting for the device, which hangs if a peer process died."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    @contextlib.contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Measure the wait for the next batch."""
        begun = time.monotonic()
        yield
        if self._last_step_end.done():
            self._data += time.monotonic() - max(begun, self._last_step_end.result())

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Measure the time that starting a save takes."""
        begun = time.monotonic()
        yield
        self._saving += time.monotonic() - begun

    def step(self, result: jax.Array) -> None:
        """Count a step that was dispatched to the device; `result` is one of its outputs."""
        self._steps += 1
        self._last_step_end = self._executor.submit(_end_time, result)

    def metrics(self, batch_size: int) -> dict[str, float]:
        """Clips per second, seconds per step by kind, and peak memory in GB."""
        total = time.monotonic() - self._started
        seconds = {
            "data_seconds": self._data / self._steps,
            "compute_seconds": (total - self._data - self._saving) / self._steps,
            "save_seconds": self._saving / self._steps,
        }
        self._warn_if_input_bound(self._data / total)
        self._warmed_up = True
        return {"clips_per_second": self._steps * batch_size / total, **seconds, **_peak_memory()}

    def _warn_if_input_bound(self, fraction: float) -> None:
        """Warn once, and not about the first steps, which fill the pipeline and compile."""
        if self._warmed_up and not self._warned and fraction > INPUT_BOUND:
            self._warned = True
            logger.warning(
                "input-bound: %d %% of the time is spent waiting for clips. If config.data.name is"
                " an `original` storage, train on `frames`; if some of this machine's %d cores are"
                " idle, raise --config.data.num_threads.",
                *(100 * fraction, os.cpu_count()),
            )


class DeviceHours:
    """Device-hours of a run over all its starts: the number of devices times the hours."""

    def __init__(self) -> None:
        self._before, self._started = 0.0, time.monotonic()

    def resume(self, before: float) -> None:
        """Add the device-hours until the checkpoint from which the run resumes."""
        self._before = before

    def summary(self) -> dict[str, Any]:
        """Number and kind of the devices, and the device-hours so far, for JSON."""
        count, hours = jax.device_count(), (time.monotonic() - self._started) / 3600
        return {
            "devices": count,
            "device_kind": jax.devices()[0].device_kind,
            "device_hours": round(self._before + count * hours, 6),
        }


def log_memory(program: jax.stages.Compiled) -> None:
    """Log the memory that a compiled training step needs, before its first run."""
    sizes = program.memory_analysis()
    if sizes is None:  # some devices have no analysis
        return
    # Most outputs replace arguments; only the others need memory of their own.
    outputs = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    held, temporary = sizes.argument_size_in_bytes + outputs, sizes.temp_size_in_bytes
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    logger.info(
        "a training step needs %.3f GB per device: %.3f for weights, optimizer state and batch,"
        " %.3f for activations and gradients%s",
        *((held + temporary) / 1e9, held / 1e9, temporary / 1e9),
        f"; a device has {limit / 1e9:.1f} GB" if limit else "",
    )


def _end_time(result: jax.Array) -> float:
    with contextlib.suppress(Exception):  # the training loop meets the same error
        result.block_until_ready()
    return time.monotonic()


def _peak_memory() -> dict[str, float]:
    unit = 1 if sys.platform == "darwin" else 1024  # `ru_maxrss` is in bytes or KiB
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    stats = [device.memory_stats() for device in jax.local_devices()]
    peaks = [stat["peak_bytes_in_use"] for stat in stats if stat]  # CPUs have no statistics
    return {"host_gb": host / 1e9} | ({"device_gb": max(peaks) / 1e9} if peaks else {})
