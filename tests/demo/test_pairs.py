import numpy as np
import pytest

from dstadapter_jax.demo.pairs import pair_metrics
from dstadapter_jax.demo.signs import SIGNS
from dstadapter_jax.evaluation.scores import Scores


def test_pair_metrics_compare_a_sign_with_its_reverse_only():
    names = sorted(SIGNS)
    # One clip per sign: probability 0.6 for drum and 0.4 for one other class.
    labels = np.arange(len(names))
    probabilities = np.zeros((8, 8))
    probabilities[:, names.index("drum")] = 0.6
    for row, guess in enumerate(
        ["close", "drum", "give", "raise", "open", "raise", "give", "wave"]
    ):
        probabilities[row, names.index(guess)] += 0.4
    assert names == ["close", "drum", "give", "lower", "open", "raise", "take", "wave"]
    metrics = pair_metrics(Scores(probabilities, labels), names)
    # close, give, open and raise beat their reverse; lower and take do not.
    assert metrics == {"pairs_top1": 0.0, "direction": pytest.approx(4 / 6), "pairs_num_clips": 6}
