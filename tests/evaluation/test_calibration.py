"""Calibration against counts by hand."""

import numpy as np
import pytest

from dstadapter_jax.evaluation.calibration import Calibration


def test_calibration_of_few_clips_equals_a_count_by_hand():
    # Three clips at 0.9, two of them correct; one at 0.85, correct; one at 0.4, wrong.
    confidence, correct = [0.9, 0.9, 0.9, 0.85, 0.4], [1, 1, 0, 1, 0]
    probabilities = np.array([[p, (1 - p) / 2, (1 - p) / 2] for p in confidence])
    found = Calibration.from_scores(probabilities, np.array([0 if ok else 1 for ok in correct]))
    assert found.counts.tolist() == [0] * 5 + [1] + [0] * 6 + [1, 3] + [0]
    # 0.4 is the upper end of the sixth bin of fifteen; 0.85 lies in the 13th, 0.9 in the 14th.
    expected = (1 * 0.4 + 1 * 0.15 + 3 * (0.9 - 2 / 3)) / 5
    assert found.ece == pytest.approx(expected)
    certain = Calibration.from_scores(np.eye(3)[[0, 1]], np.array([0, 1]))
    assert certain.counts[-1] == 2
    assert certain.ece == 0
    assert [(bin.place, bin.count) for bin in found.bins()] == [(5, 1), (12, 1), (13, 3)]
