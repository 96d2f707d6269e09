"""Which signs are taken for which."""

import dataclasses

import numpy as np

from dstadapter_jax.evaluation.scores import Scores


@dataclasses.dataclass(frozen=True)
class ConfusedPair:
    """Two signs, clips of which were taken for the other.

    Attributes:
        labels: Their ids: first the one that was more often taken for the other.
        counts: Clips of the first taken for the second, and of the second taken for the first.
    """

    labels: tuple[int, int]
    counts: tuple[int, int]


def confusion_counts(scores: Scores) -> np.ndarray:
    """Clips of each true class (row) taken for each class (column), `(classes, classes)`."""
    classes = scores.probabilities.shape[1]
    cells = scores.labels * classes + scores.predictions
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def confused_pairs(counts: np.ndarray, most: int) -> list[ConfusedPair]:
    """The pairs with the most clips taken for the other one, both ways together; `most` of them.

    Args:
        counts: As `confusion_counts` gives them.
        most: How many pairs.
    """
    both = np.triu(counts + counts.T, k=1)
    order = np.argsort(-both, axis=None, kind="stable")[:most]
    pairs = []
    for i, j in np.stack(np.unravel_index(order, both.shape), axis=1).tolist():
        if not both[i, j]:
            break
        a, b = (i, j) if counts[i, j] >= counts[j, i] else (j, i)
        pairs.append(ConfusedPair((a, b), (int(counts[a, b]), int(counts[b, a]))))
    return pairs


def typical_clip(scores: Scores, label: int, taken_for: int) -> int | None:
    """The place of the clip that shows best how one sign is taken for another.

    It is the one taken for it with the highest probability. If none is, it is the one whose own
    sign has the highest; None if the split has no clip of the sign.
    """
    own = scores.labels == label
    rows, column = np.flatnonzero(own & (scores.predictions == taken_for)), taken_for
    if not rows.size:
        rows, column = np.flatnonzero(own), label
    return int(rows[scores.probabilities[rows, column].argmax()]) if rows.size else None
