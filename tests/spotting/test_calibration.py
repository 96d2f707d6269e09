"""Calibration of sign spotting for a run."""

import pytest

from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.spotting.settings import FILE, load_settings
from tests.helpers.errors import raises


def test_calibrate_writes_window_lengths_and_counts(calibrated, run_dir):
    recognizer = Recognizer.load(calibrated)
    settings = load_settings(calibrated, recognizer.step, 32)
    # Clips have 12 to 14 frames at 30 a second.
    assert settings.window_seconds == pytest.approx((11 / 30, 13 / 30), abs=1e-3)
    assert {split: found.num_signs for split, found in settings.metrics.items()} == {
        "validation": 9,
        "test": 9,
    }
    with raises(where=FILE, advice="calibrate --workdir"):
        load_settings(run_dir, recognizer.step, 32)
