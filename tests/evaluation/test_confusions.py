"""Confusions against counts by hand."""

import numpy as np

from dstadapter_jax.evaluation.confusions import confused_pairs, confusion_counts, typical_clip
from dstadapter_jax.evaluation.scores import Scores


def test_confused_pairs_of_few_clips_equal_a_count_by_hand():
    truth = [0, 0, 0, 1, 1, 2, 2, 2, 3]
    predicted = [0, 1, 1, 0, 1, 3, 3, 3, 3]
    probabilities = np.full((9, 5), 0.1)
    probabilities[range(9), predicted] = np.linspace(0.5, 0.58, 9)
    scores = Scores(probabilities, np.array(truth))
    counts = confusion_counts(scores)
    assert counts[0].tolist() == [1, 2, 0, 0, 0]
    pairs = confused_pairs(counts, 5)
    assert [(pair.labels, pair.counts) for pair in pairs] == [((0, 1), (2, 1)), ((2, 3), (3, 0))]
    assert confused_pairs(counts, 1) == pairs[:1]
    # The most probable of the clips predicted so, or else of the clips of the sign.
    assert typical_clip(scores, 0, 1) == 2
    assert typical_clip(scores, 3, 2) == 8
    assert typical_clip(scores, 1, 4) == 4
    assert typical_clip(scores, 4, 0) is None
