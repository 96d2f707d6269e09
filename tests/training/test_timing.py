"""Step times, and the warning about an input-bound run."""

import threading
import time

import pytest

from dstadapter_jax.training.timing import StepTimer


class Result:
    """An output of a step, ready once the device has finished the step."""

    def __init__(self) -> None:
        self.finished = threading.Event()

    def block_until_ready(self) -> None:
        self.finished.wait()


def finish(timer: StepTimer, result: Result) -> None:
    result.finished.set()
    timer._last_step_end.result()


def test_step_timer_counts_waits_while_the_device_is_idle(caplog):
    timer, first = StepTimer(), Result()
    timer.step(first)
    timer.restart()
    begun = time.monotonic()
    with timer.waiting_for_data():
        time.sleep(0.02)  # while the device computes the first step
    with timer.waiting_for_data():
        time.sleep(0.02)
        finished = time.monotonic()
        finish(timer, first)
        time.sleep(0.05)  # while the device is idle
    with timer.saving():
        time.sleep(0.01)
    second = Result()
    timer.step(second)
    metrics = timer.metrics(batch_size=8)
    now = time.monotonic()
    assert 0.05 <= metrics["data_seconds"] <= now - finished
    assert metrics["save_seconds"] >= 0.01
    total = sum(metrics[f"{part}_seconds"] for part in ("data", "compute", "save"))
    assert now - begun >= total >= 0.1
    assert metrics["clips_per_second"] == pytest.approx(8 / total)
    finish(timer, second)
    timer.close()
    assert not caplog.text  # the first row includes compilation


def test_step_timer_of_input_bound_run_warns_once(caplog):
    timer = StepTimer()
    for _ in range(3):
        timer.restart()
        with timer.waiting_for_data():
            time.sleep(0.05)
        result = Result()
        timer.step(result)
        finish(timer, result)
        timer.metrics(batch_size=8)
    timer.close()
    assert len(caplog.records) == 1
