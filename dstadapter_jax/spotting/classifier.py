"""What the network says of windows: which sign, and whether it is one at all."""

from typing import NamedTuple, Self

import numpy as np

from dstadapter_jax.adapters.spotting_settings import SpottingSettings


class Outputs(NamedTuple):
    """What the network says of N views.

    Attributes:
        log_probabilities: `(N, classes)` float32.
        features: `(N, d)` float32, the classifier's input.
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
        """The best label, `(N,)`."""
        return self.log_probabilities.argmax(axis=1)


class SignClassifier(NamedTuple):
    """Tells windows that show a sign from all others, by a plane in the space of features.

    Attributes:
        weights: `(d,)`.
        bias: Added to it.
    """

    weights: np.ndarray
    bias: float

    def scores(self, outputs: Outputs) -> np.ndarray:
        """What speaks for the best label rather than another or none, `(N,)`; a sign's is > 0."""
        return outputs.margins + outputs.features @ self.weights + self.bias

    @classmethod
    def from_settings(cls, settings: SpottingSettings) -> Self:
        """Builds the classifier that calibration fitted."""
        return cls(np.array(settings.weights), settings.bias)
