"""Calibration: how far probabilities differ from accuracies."""

import dataclasses
from collections.abc import Iterator
from typing import Self

import numpy as np

NUM_BINS = 15  # as in Guo et al., On Calibration of Modern Neural Networks, 2017


@dataclasses.dataclass(frozen=True)
class Bin:
    """Clips whose most probable label has a probability in one of `NUM_BINS` equal ranges.

    Attributes:
        place: Position of the range, from 0.
        count: Clips.
        confidence: Mean probability.
        accuracy: Share of correct labels.
    """

    place: int
    count: int
    confidence: float
    accuracy: float


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Clips in bins of the probability of their most probable label.

    Attributes:
        counts: `(NUM_BINS,)` clips.
        confidence: `(NUM_BINS,)` mean probability of the most probable label; 0 in an empty bin.
        accuracy: `(NUM_BINS,)` share of these labels that are correct; 0 in an empty bin.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @classmethod
    def from_scores(cls, probabilities: np.ndarray, labels: np.ndarray) -> Self:
        """Bins clips by their probabilities `(clips, classes)`; `labels` are the true ids."""
        confidence = probabilities.max(axis=1)
        correct = probabilities.argmax(axis=1) == labels
        # A bin excludes its lower end; rounding may take a mean over views above 1.
        places = np.clip(np.ceil(confidence * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
        counts = np.bincount(places, minlength=NUM_BINS)
        means = (
            np.bincount(places, weights=values, minlength=NUM_BINS) / np.maximum(counts, 1)
            for values in (confidence, correct)
        )
        return cls(counts, *means)

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean difference of the bins, weighted by clips."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float((self.counts * gaps).sum() / self.counts.sum())

    def bins(self) -> Iterator[Bin]:
        """The bins that hold clips."""
        columns = (self.counts.tolist(), self.confidence.tolist(), self.accuracy.tolist())
        for place, (count, confidence, accuracy) in enumerate(zip(*columns, strict=True)):
            if count:
                yield Bin(place, count, confidence, accuracy)
