"""Whether a recognizer is right as often as it is sure."""

import dataclasses
from typing import Self

import numpy as np

NUM_BINS = 15  # as Guo et al., On Calibration of Modern Neural Networks, 2017


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Clips by the probability of their most probable label, in bins of one width.

    Attributes:
        counts: `(NUM_BINS,)` clips.
        confidence: `(NUM_BINS,)`, the mean of these probabilities; 0 without clips.
        accuracy: `(NUM_BINS,)`, the share of these labels that are right; 0 without clips.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: np.ndarray) -> Self:
        """Of scores `(clips, classes)` and true ids `(clips,)`."""
        sure = probabilities.max(axis=1)
        right = probabilities.argmax(axis=1) == labels
        # A bin is open at its lower end; rounding may take a mean of views beyond 1.
        bins = np.clip(np.ceil(sure * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
        counts = np.bincount(bins, minlength=NUM_BINS)
        means = (
            np.bincount(bins, weights=values, minlength=NUM_BINS) / np.maximum(counts, 1)
            for values in (sure, right)
        )
        return cls(counts, *means)

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap, weighed by clips."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float((self.counts * gaps).sum() / self.counts.sum())
