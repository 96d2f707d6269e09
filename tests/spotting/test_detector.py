"""Detection of signs among scored windows."""

import numpy as np

from dstadapter_jax.spotting.detector import Detection, Detector
from tests.helpers.streams import window


def emitted(
    hops: dict[float, list[Detection]], longest: float = 2.0
) -> list[tuple[float, Detection]]:
    detector = Detector(longest)
    found = [(now, sign) for now, windows in hops.items() for sign in detector.update(now, windows)]
    return found + [(np.inf, sign) for sign in detector.flush()]


def test_detector_emits_the_best_of_overlapping_windows_once_scores_drop():
    part, whole = window(1, 0.2, 0.9, 5.0), window(2, 0.0, 1.6, 5.0)
    quiet = window(0, 1.0, 2.6, -1.5)
    assert emitted({0.9: [part], 1.6: [whole], 2.0: [window(0, 1, 2, -0.5)], 2.6: [quiet]}) == [
        (2.6, whole)
    ]


def test_detector_emits_a_sign_at_the_latest_after_the_longest_window():
    sign, later = window(1, 0.0, 1.0, 5.0), window(2, 2.0, 3.0, 0.5)
    hops = {1.0: [sign], 2.9: [window(0, 1.2, 2.9, 0.0)], 3.0: [later], 4.9: [later]}
    assert emitted(hops) == [(3.0, sign), (np.inf, later)]


def test_detector_emits_adjacent_signs_separately():
    first, second = window(1, 0.0, 1.0, 3.0), window(2, 0.95, 2.0, 3.0)
    assert [sign for _, sign in emitted({1.0: [first], 2.0: [second]})] == [first, second]


def test_detector_ignores_windows_that_overlap_an_emitted_sign():
    sign, echo = window(1, 0.0, 1.0, 5.0), window(1, 0.4, 1.4, 9.0)
    hops = {1.0: [sign], 1.2: [window(0, 0.2, 1.2, -2.0)], 1.4: [echo]}
    assert emitted(hops) == [(1.2, sign)]


def test_detector_ignores_windows_without_a_positive_score():
    assert emitted({now: [window(0, now - 1, now, 0.0)] for now in np.arange(1, 5, 0.1)}) == []
