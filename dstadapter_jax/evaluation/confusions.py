"""Confusions: signs whose clips are predicted as another sign."""

import dataclasses

import numpy as np

from dstadapter_jax.evaluation.scores import Scores


@dataclasses.dataclass(frozen=True)
class ConfusedPair:
    """Two signs of which clips of one were predicted as the other.

    Attributes:
        labels: Their ids; the sign that was more often predicted as the other comes first.
        counts: Clips of the first predicted as the second, and of the second as the first.
    """

    labels: tuple[int, int]
    counts: tuple[int, int]


def confusion_counts(scores: Scores) -> np.ndarray:
    """Clips of each true class (row) by predicted class (column), `(classes, classes)`."""
    classes = scores.probabilities.shape[1]
    cells = scores.labels * classes + scores.predictions
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def confused_pairs(counts: np.ndarray, max_pairs: int) -> list[ConfusedPair]:
    """The pairs with the most confused clips in both directions, from `confusion_counts`."""
    both = np.triu(counts + counts.T, k=1)
    order = np.argsort(-both, axis=None, kind="stable")[:max_pairs]
    pairs = []
    for i, j in np.stack(np.unravel_index(order, both.shape), axis=1).tolist():
        if not both[i, j]:
            break
        a, b = (i, j) if counts[i, j] >= counts[j, i] else (j, i)
        pairs.append(ConfusedPair((a, b), (int(counts[a, b]), int(counts[b, a]))))
    return pairs


def typical_clip(scores: Scores, label: int, predicted: int) -> int | None:
    """The index of the clip that shows a confusion best.

    This is the clip of `label` that is predicted as `predicted` with the highest probability, or,
    without such a clip, the one with the highest probability of its own sign. None if the split has
    no clip of the sign.
    """
    own = scores.labels == label
    rows, column = np.flatnonzero(own & (scores.predictions == predicted)), predicted
    if not rows.size:
        rows, column = np.flatnonzero(own), label
    return int(rows[scores.probabilities[rows, column].argmax()]) if rows.size else None
