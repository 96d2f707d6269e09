"""Scores of windows."""

import numpy as np
import pytest

from dstadapter_jax.spotting.classifier import Outputs, SignClassifier


def test_scores_are_margins_plus_the_linear_classifier():
    outputs = Outputs(np.log(np.array([[0.7, 0.2, 0.1]])), np.array([[1.0, 2.0]]))
    score = SignClassifier(np.array([0.5, -1.0]), 0.25).scores(outputs)
    assert score == pytest.approx(np.log(0.7 / 0.2) + 0.5 - 2 + 0.25)
