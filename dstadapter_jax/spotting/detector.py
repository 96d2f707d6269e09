"""Detection of signs among scored windows: causal non-maximum suppression in time."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dstadapter_jax.spotting.classifier import SignClassifier
from dstadapter_jax.spotting.inference import HopOutputs

# Share of the shorter of two detections that may overlap: windows differ in length from their
# signs.
MAX_OVERLAP = 0.1
# A sign ends once the best score falls this far below zero, not at the first negative score.
HYSTERESIS = 1.0
LENGTH_POWER = 0.8  # 0.5 detects parts of signs, 1 includes their surroundings


class Detection(NamedTuple):
    """A window that shows a sign.

    Attributes:
        label: Label id.
        start: Time of the first frame in seconds.
        end: Time of the last frame in seconds.
        score: Score of the sign classifier; above 0.
        probability: Probability of the label among all labels.
    """

    label: int
    start: float
    end: float
    score: float
    probability: float

    @property
    def nms_score(self) -> float:
        """Score for non-maximum suppression.

        Parts of a sign often score as high as the whole sign, so longer windows are preferred; not
        in proportion to their length, or they would include the surroundings of short signs.
        """
        return (self.score + 1) * (self.end - self.start) ** LENGTH_POWER

    def to_json(self) -> dict[str, float]:
        """Times, probability and score for output."""
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "probability": self.probability,
            "score": self.score,
        }

    def overlaps(self, other: "Detection") -> bool:
        """Whether two detections overlap too much to be two signs."""
        shared = min(self.end, other.end) - max(self.start, other.start)
        return shared > MAX_OVERLAP * min(self.end - self.start, other.end - other.start)


class Detector:
    """Greedy non-maximum suppression that emits a sign once no later window can replace it.

    A sign is emitted when the scores have dropped, or after the length of the longest window.
    """

    def __init__(self, max_seconds: float):
        """Initialize with the length of the longest window."""
        self._max_seconds = max_seconds
        self._candidates: list[Detection] = []
        self._last: Detection | None = None

    def update(self, now: float, windows: Sequence[Detection]) -> list[Detection]:
        """Add all windows that end now, whatever their scores; returns new signs in order."""
        self._candidates += [
            window
            for window in windows
            if window.score > 0 and not (self._last and self._last.overlaps(window))
        ]
        if not self._candidates:
            return []
        if max(window.score for window in windows) < -HYSTERESIS:
            return self.flush()
        best = _suppress(self._candidates)
        return self._emit([found for found in best if found.end + self._max_seconds <= now])

    def flush(self) -> list[Detection]:
        """Emit the remaining signs, at the end of the stream or of a sign."""
        return self._emit(_suppress(self._candidates))

    def _emit(self, signs: list[Detection]) -> list[Detection]:
        for sign in signs:
            self._last = sign
            self._candidates = [
                found
                for found in self._candidates
                if found.end > sign.end and not sign.overlaps(found)
            ]
        return signs


def _suppress(windows: Iterable[Detection]) -> list[Detection]:
    """Greedy non-maximum suppression; returns the remaining windows in order of time."""
    remaining: list[Detection] = []
    for window in sorted(windows, key=lambda window: -window.nms_score):
        if not any(window.overlaps(other) for other in remaining):
            remaining.append(window)
    return sorted(remaining, key=lambda window: window.end)


def detect(
    hops: Iterable[HopOutputs], classifier: SignClassifier, max_seconds: float
) -> Iterator[Detection]:
    """Yield the signs of a stream as soon as each is certain.

    The longest window has `max_seconds`.
    """
    detector = Detector(max_seconds)
    for hop in hops:
        yield from detector.update(hop.now, score_windows(hop, classifier))
    yield from detector.flush()


def score_windows(hop: HopOutputs, classifier: SignClassifier) -> list[Detection]:
    """The best label of each window with its score, whatever the score is."""
    outputs = hop.outputs
    scores = classifier.scores(outputs)
    probabilities = np.exp(outputs.log_probabilities.max(axis=1))
    rows = zip(outputs.labels, hop.starts, scores, probabilities, strict=True)
    return [
        Detection(int(label), start, hop.now, float(score), float(probability))
        for label, start, score, probability in rows
    ]
