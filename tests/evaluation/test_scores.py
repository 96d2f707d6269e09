"""Metrics of scores."""

import numpy as np
import pytest

from dstadapter_jax.evaluation.scores import Scores


def test_metrics_of_few_clips_equal_a_count_by_hand():
    probabilities = np.eye(7)[[0, 1, 2, 3]] + 0.1 * np.arange(7)
    scores = Scores(probabilities, labels=np.array([0, 0, 2, 1]))
    # Of clip 1, class 0 is ranked last of 7; of clip 3, class 1 is ranked second to last.
    assert scores.metrics() == {
        "top1": 0.5,
        "top5": 0.5,
        "mean_class_accuracy": pytest.approx((0.5 + 0 + 1) / 7),
    }
    # Three further clips, all wrong: two of class 0, and the only one of class 5.
    assert scores.metrics(missing=[0, 0, 5]) == {
        "top1": pytest.approx(2 / 7),
        "top5": pytest.approx(2 / 7),
        "mean_class_accuracy": pytest.approx((0.25 + 0 + 1 + 0) / 7),
    }
