"""Fitting of the sign/no-sign classifier."""

import msgspec
import numpy as np
import pytest

from dstadapter_jax.spotting.classifier import Outputs, SignClassifier
from dstadapter_jax.spotting.fit import (
    TARGET_RECALL,
    count_detections,
    fit_sign_classifier,
    max_ious,
    set_threshold,
)
from dstadapter_jax.spotting.inference import HopOutputs
from dstadapter_jax.spotting.synthetic import Annotation
from tests.helpers.errors import raises
from tests.helpers.streams import window


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([(1, 0, 1), (2, 3, 4)], (2, 2, 0)),
        ([(1, 0.4, 1.4), (2, 3, 4)], (2, 2, 0)),  # shares 0.6 of the sign
        ([(1, 0.6, 1.6), (2, 3, 4)], (2, 1, 1)),  # shares 0.4
        ([(2, 0, 1), (2, 3, 4)], (2, 1, 1)),  # another label
        ([(1, 0, 1), (1, 0.1, 1), (2, 3, 4)], (2, 2, 1)),  # detected twice
        ([], (2, 0, 0)),
    ],
)
def test_count_detections(found, expected):
    annotations = [Annotation(1, 0.0, 1.0), Annotation(2, 3.0, 4.0)]
    counts = count_detections([window(*sign, 1.0) for sign in found], annotations)
    assert msgspec.structs.astuple(counts) == expected


def hop_outputs(features: np.ndarray, times: np.ndarray) -> list[HopOutputs]:
    logs = np.log(np.array([[0.6, 0.4]], np.float32)).repeat(len(features), axis=0)
    return [
        HopOutputs([start], end, Outputs(logs[i : i + 1], features[i : i + 1]))
        for i, (start, end) in enumerate(times)
    ]


def test_fitted_classifier_separates_signs_with_the_target_recall():
    rng = np.random.default_rng(0)
    ends = np.arange(1, 401, dtype=float)
    times = np.stack([ends - 1, ends], axis=1)
    annotations = [Annotation(0, end - 1, end) for end in ends[::2]]
    features = rng.normal(0, 1, (400, 8))
    features[::2, 3] += 4  # positive windows
    hops = hop_outputs(features.astype(np.float32), times)
    assert max_ious(hops, annotations)[:4].tolist() == [1, 0, 1, 0]

    classifier = set_threshold(hops, annotations, fit_sign_classifier(hops, annotations))
    scores = np.concatenate([classifier.scores(hop.outputs) for hop in hops])
    assert np.abs(classifier.weights).argmax() == 3
    assert (scores[::2] > 0).mean() == pytest.approx(TARGET_RECALL, abs=0.005)
    assert (scores[1::2] > 0).mean() < 0.05


def test_fit_without_both_kinds_of_windows_raises():
    hops = hop_outputs(np.zeros((3, 2), np.float32), np.array([(0, 1), (1, 2), (2, 3)], float))
    annotations = [Annotation(0, float(start), start + 1.0) for start in range(3)]
    with raises(where="training split"):
        fit_sign_classifier(hops, annotations)
    with raises(where="validation split"):
        set_threshold(hops, [Annotation(0, 10.0, 11.0)], SignClassifier(np.zeros(2), 0.0))
