"""From windows with scores to signs, as soon as each is known: non-maximum suppression in time."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dstadapter_jax.spotting.classifier import SignClassifier
from dstadapter_jax.spotting.inference import TickOutputs

# Two signs may share so much of the shorter one: windows are longer or shorter than what they show.
TOLERANCE = 0.1
# A sign is over when the best window's score is so far below what makes a sign: not when it falls
# below zero for a moment.
HYSTERESIS = 1.0
LENGTH_POWER = 0.8  # 0.5 finds parts of signs, 1 signs with what is beside them


class Detection(NamedTuple):
    """A window that shows a sign.

    Attributes:
        label: Id of the sign.
        start: Seconds.
        end: Seconds.
        score: How much speaks for this sign rather than another one or none; above 0.
        probability: Of the label among all labels.
    """

    label: int
    start: float
    end: float
    score: float
    probability: float

    @property
    def weight(self) -> float:
        """By which windows that overlap compete.

        A part of a sign is often as sure a sight as the whole, so the longer is preferred; not by
        all of its length, or it would take in what is beside a short sign.
        """
        return (self.score + 1) * (self.end - self.start) ** LENGTH_POWER

    def times(self) -> dict[str, float]:
        """All but the label, for people."""
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "probability": self.probability,
            "score": self.score,
        }

    def excludes(self, other: "Detection") -> bool:
        """Whether both can't be signs."""
        shared = min(self.end, other.end) - max(self.start, other.start)
        return shared > TOLERANCE * min(self.end - self.start, other.end - other.start)


class Detector:
    """Tells signs by greedy non-maximum suppression, as soon as no later window can take part.

    That is once the stream is quiet, or once it has gone on for the longest window's time.
    """

    def __init__(self, longest: float):
        """Of windows of at most so many seconds."""
        self._longest = longest
        self._waiting: list[Detection] = []
        self._emitted: Detection | None = None

    def tick(self, now: float, windows: Sequence[Detection]) -> list[Detection]:
        """Takes the windows that end now, whatever their scores, and returns signs, in order."""
        self._waiting += [
            window
            for window in windows
            if window.score > 0 and not (self._emitted and self._emitted.excludes(window))
        ]
        if not self._waiting:
            return []
        if max(window.score for window in windows) < -HYSTERESIS:
            return self.flush()
        best = _suppress(self._waiting)
        return self._emit([found for found in best if found.end + self._longest <= now])

    def flush(self) -> list[Detection]:
        """The signs that are left when the stream ends or is quiet."""
        return self._emit(_suppress(self._waiting))

    def _emit(self, signs: list[Detection]) -> list[Detection]:
        for sign in signs:
            self._emitted = sign
            self._waiting = [
                found
                for found in self._waiting
                if found.end > sign.end and not sign.excludes(found)
            ]
        return signs


def _suppress(windows: Iterable[Detection]) -> list[Detection]:
    """Those that remain when of two that exclude each other the better goes first, by time."""
    remaining: list[Detection] = []
    for window in sorted(windows, key=lambda window: -window.weight):
        if not any(window.excludes(other) for other in remaining):
            remaining.append(window)
    return sorted(remaining, key=lambda window: window.end)


def detect(
    ticks: Iterable[TickOutputs], scorer: SignClassifier, longest: float
) -> Iterator[Detection]:
    """Yields the signs of a stream as soon as each is known.

    Args:
        ticks: As they come.
        scorer: What makes a window a sign.
        longest: Seconds of the longest window.
    """
    detector = Detector(longest)
    for tick in ticks:
        yield from detector.tick(tick.now, score_windows(tick, scorer))
    yield from detector.flush()


def score_windows(tick: TickOutputs, scorer: SignClassifier) -> list[Detection]:
    """What each window shows, whatever its score."""
    outputs = tick.outputs
    rows = zip(
        outputs.labels,
        tick.starts,
        scorer.scores(outputs),
        np.exp(outputs.log_probabilities.max(axis=1)),
        strict=True,
    )
    return [
        Detection(int(label), start, tick.now, float(score), float(probability))
        for label, start, score, probability in rows
    ]
