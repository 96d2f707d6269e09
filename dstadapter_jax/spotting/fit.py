"""Fitting of the sign/no-sign classifier on annotated synthetic streams.

A linear classifier on features is fitted to the windows of a stream of training clips, since the
margin of the best label alone detects the beginnings of signs as other signs. The threshold comes
from a stream of validation clips: classifier and margin are less confident on their unseen signers.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from dstadapter_jax.adapters.schema import DetectionCounts
from dstadapter_jax.errors import UserError
from dstadapter_jax.spotting.classifier import SignClassifier
from dstadapter_jax.spotting.detector import Detection
from dstadapter_jax.spotting.inference import HopOutputs
from dstadapter_jax.spotting.synthetic import Annotation

# Intersection over union with a sign from which a window is positive, and below which negative;
# windows in between are ignored.
MIN_POSITIVE_IOU, MAX_NEGATIVE_IOU = 0.7, 0.5
# Chosen, with `detector.LENGTH_POWER`, on the demo's streams of three seeds.
RIDGE = 0.004  # on features of unit variance
CLASSIFIER_SCALE = 4.0  # relative to the margin, which separates signs from background less well
TARGET_RECALL = 0.96  # on the positive windows of the validation split


def max_ious(hops: Sequence[HopOutputs], annotations: Sequence[Annotation]) -> np.ndarray:
    """Largest intersection over union of each window with a sign, `(windows,)`."""
    windows = np.array([(start, hop.now) for hop in hops for start in hop.starts], float)
    signs = np.array([(sign.start, sign.end) for sign in annotations], float).reshape(-1, 2)
    windows = windows.reshape(-1, 2)
    shared = np.minimum(windows[:, None, 1], signs[:, 1]) - np.maximum(
        windows[:, None, 0], signs[:, 0]
    )
    lengths = np.diff(windows) + np.diff(signs).T
    return (shared / (lengths - shared)).max(axis=1, initial=-1.0)


def count_detections(
    detections: Sequence[Detection], annotations: Sequence[Annotation]
) -> DetectionCounts:
    """Compare detections with annotations, in order.

    A sign is found by the first detection of its label that shares half of the shorter one's
    duration; all other detections are false.
    """
    left, found = list(detections), 0
    for sign in annotations:
        for place, detected in enumerate(left):
            shared = min(detected.end, sign.end) - max(detected.start, sign.start)
            shorter = min(detected.end - detected.start, sign.end - sign.start)
            if detected.label == sign.label and shared >= shorter / 2:
                found += 1
                del left[: place + 1]
                break
    return DetectionCounts(
        num_signs=len(annotations), true_positives=found, false_positives=len(detections) - found
    )


def fit_sign_classifier(
    hops: Sequence[HopOutputs], annotations: Sequence[Annotation]
) -> SignClassifier:
    """Fit a logistic regression of whether a window shows a sign on its features.

    The weights are scaled by `CLASSIFIER_SCALE`; `set_threshold` determines the bias.

    Raises:
        UserError: All windows are positive, or all negative.
    """
    ious = max_ious(hops, annotations)
    kept = (ious >= MIN_POSITIVE_IOU) | (ious < MAX_NEGATIVE_IOU)
    targets = np.where(ious[kept] >= MIN_POSITIVE_IOU, 1.0, -1.0)
    if len(set(targets)) < 2:
        raise UserError(
            "training split",
            expected="windows with and without a sign in a stream of its clips",
            found=f"{len(targets)} windows of one kind only",
            advice="Add clips.",
        )
    features = np.concatenate([hop.outputs.features for hop in hops])[kept]
    scale = features.std(axis=0) + 1e-6
    weights = _fit_logistic((features - features.mean(axis=0)) / scale, targets)
    return SignClassifier(CLASSIFIER_SCALE * weights / scale, 0.0)


def _fit_logistic(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Weights of a ridge-regularized logistic regression; targets are 1 and -1."""
    inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1).astype(np.float64)
    ridge = np.append(np.full(inputs.shape[1] - 1, RIDGE), 0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margins = targets * (inputs @ weights)
        slopes = -targets * expit(-margins)
        value = np.logaddexp(0, -margins).mean() + ridge @ weights**2
        return value, inputs.T @ slopes / len(targets) + 2 * ridge * weights

    found = minimize(loss, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B").x
    return found[:-1]


def set_threshold(
    hops: Sequence[HopOutputs], annotations: Sequence[Annotation], classifier: SignClassifier
) -> SignClassifier:
    """Shift the bias so that `TARGET_RECALL` of the positive windows score above 0.

    Raises:
        UserError: There are no positive windows.
    """
    positive = max_ious(hops, annotations) >= MIN_POSITIVE_IOU
    if not positive.any():
        raise UserError(
            "validation split",
            expected="windows with a sign in a stream of its clips",
            found="none",
            advice="Its clips probably differ in length from the training clips: use the same kind"
            " of clips in both splits.",
        )
    scores = np.concatenate([classifier.scores(hop.outputs) for hop in hops])[positive]
    shift = float(np.quantile(scores, 1 - TARGET_RECALL))
    return SignClassifier(classifier.weights, classifier.bias - shift)
