"""Scores of windows: which sign, and whether the window shows a sign at all."""

from typing import NamedTuple, Self

import numpy as np

from dstadapter_jax.adapters.schema import SpottingSettings


class Outputs(NamedTuple):
    """Network outputs for N views.

    Attributes:
        log_probabilities: `(N, classes)` float32.
        features: `(N, d)` float32, the input of the classification head.
    """

    log_probabilities: np.ndarray
    features: np.ndarray

    @property
    def margins(self) -> np.ndarray:
        """Log-odds of the best label against the second best, `(N,)`."""
        best = np.partition(self.log_probabilities, -2, axis=1)
        return best[:, -1] - best[:, -2]

    @property
    def labels(self) -> np.ndarray:
        """Ids of the best labels, `(N,)`."""
        return self.log_probabilities.argmax(axis=1)


class SignClassifier(NamedTuple):
    """Linear sign/no-sign classifier on features, added to the margin of the best label.

    Attributes:
        weights: `(d,)`.
        bias: Scalar.
    """

    weights: np.ndarray
    bias: float

    @classmethod
    def from_settings(cls, settings: SpottingSettings) -> Self:
        """Build the classifier that calibration fitted."""
        return cls(np.array(settings.weights), settings.bias)

    def scores(self, outputs: Outputs) -> np.ndarray:
        """Scores of the best labels, `(N,)`; windows with a positive score show a sign."""
        return outputs.margins + outputs.features @ self.weights + self.bias
