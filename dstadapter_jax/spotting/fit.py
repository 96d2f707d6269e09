"""Finds what tells signs from the rest, on streams of which one knows what they show.

A plane in the space of features is fitted to the windows of a stream of training clips, since the
margin of the best label alone mistakes the beginnings of signs for others. From where on a window
is a sign is read off a stream of validation clips: their signers weren't seen in training, and the
plane and the margin are less sure of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from dstadapter_jax.spotting.classifier import SignClassifier
from dstadapter_jax.spotting.detector import Detection
from dstadapter_jax.spotting.inference import TickOutputs
from dstadapter_jax.spotting.synthetic import Annotation

# A window shows a sign from the first intersection over union on, and none below the second; those
# between are in neither class.
SIGN_OVERLAP, NO_SIGN_OVERLAP = 0.7, 0.5
# Chosen, with `detection.LENGTH_POWER`, by what was found in the demo's streams of three seeds.
RIDGE = 0.004  # on features of unit variance
CLASSIFIER_SCALE = 4.0  # beside the margin, which tells less between signs than between labels
TARGET_RECALL = 0.96  # of the validation split's windows that show a sign


class DetectionCounts(NamedTuple):
    """How many signs a stream shows, how many were found, and how many detections were false."""

    shown: int
    found: int
    false: int


def max_ious(ticks: Sequence[TickOutputs], shown: Sequence[Annotation]) -> np.ndarray:
    """Of every window the largest intersection over union with a sign, `(windows,)`."""
    windows = np.array([(start, tick.now) for tick in ticks for start in tick.starts], float)
    signs = np.array([(sign.start, sign.end) for sign in shown], float).reshape(-1, 2)
    windows = windows.reshape(-1, 2)
    shared = np.minimum(windows[:, None, 1], signs[:, 1]) - np.maximum(
        windows[:, None, 0], signs[:, 0]
    )
    lengths = np.diff(windows) + np.diff(signs).T
    return (shared / (lengths - shared)).max(axis=1, initial=-1.0)


def count_detections(signs: Sequence[Detection], shown: Sequence[Annotation]) -> DetectionCounts:
    """Compares what was found with what was shown, in order.

    A sign is found by the first detection of its label that shares half of the shorter one's time;
    all other detections are false.
    """
    left, found = list(signs), 0
    for sign in shown:
        for place, detected in enumerate(left):
            shared = min(detected.end, sign.end) - max(detected.start, sign.start)
            shorter = min(detected.end - detected.start, sign.end - sign.start)
            if detected.label == sign.label and shared >= shorter / 2:
                found += 1
                del left[: place + 1]
                break
    return DetectionCounts(len(shown), found, len(signs) - found)


def fit_sign_classifier(
    ticks: Sequence[TickOutputs], shown: Sequence[Annotation]
) -> SignClassifier:
    """Logistic regression of whether a window shows a sign on its features.

    Its weights are scaled by `CLASSIFIER_SCALE`; the bias is for `set_threshold` to find.

    Raises:
        ValueError: All windows do, or none.
    """
    ious = max_ious(ticks, shown)
    kept = (ious >= SIGN_OVERLAP) | (ious < NO_SIGN_OVERLAP)
    signs = np.where(ious[kept] >= SIGN_OVERLAP, 1.0, -1.0)
    if len(set(signs)) < 2:
        raise ValueError(
            f"the training clips in a row gave {len(signs)} windows, which all show a sign, or all"
            " none: expected both. More clips are needed."
        )
    features = np.concatenate([tick.outputs.features for tick in ticks])[kept]
    scale = features.std(axis=0) + 1e-6
    weights = _logistic((features - features.mean(axis=0)) / scale, signs)
    return SignClassifier(CLASSIFIER_SCALE * weights / scale, 0.0)


def _logistic(inputs: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Weights of a ridge-regularized logistic regression; `signs` are 1 and -1."""
    inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1).astype(np.float64)
    ridge = np.append(np.full(inputs.shape[1] - 1, RIDGE), 0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margins = signs * (inputs @ weights)
        slopes = -signs * expit(-margins)
        value = np.logaddexp(0, -margins).mean() + ridge @ weights**2
        return value, inputs.T @ slopes / len(signs) + 2 * ridge * weights

    found = minimize(loss, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B").x
    return found[:-1]


def set_threshold(
    ticks: Sequence[TickOutputs], shown: Sequence[Annotation], plane: SignClassifier
) -> SignClassifier:
    """Shifts what makes a window a sign so that of those which show one a known share passes.

    Raises:
        ValueError: None shows a sign.
    """
    signs = max_ious(ticks, shown) >= SIGN_OVERLAP
    if not signs.any():
        raise ValueError(
            "no window of the validation clips in a row shows a sign, whose lengths must be quite"
            " others than those of the training clips: expected the same kind of clips in both."
        )
    scores = np.concatenate([plane.scores(tick.outputs) for tick in ticks])[signs]
    return SignClassifier(plane.weights, plane.bias - float(np.quantile(scores, 1 - TARGET_RECALL)))
