"""From windows with scores to signs: of windows that overlap one remains, at most."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Two signs may share so much of the shorter one: windows are longer or shorter than what they show.
TOLERANCE = 0.1
# A sign is over when the best window's score is so far below what makes a sign: not when it falls
# below zero for a moment.
HYSTERESIS = 1.0
LENGTH_POWER = 0.75  # 0.5 finds parts of signs, 1 too much; by the demo's streams of three seeds


class Found(NamedTuple):
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

    def excludes(self, other: "Found") -> bool:
        """Whether both can't be signs."""
        shared = min(self.end, other.end) - max(self.start, other.start)
        return shared > TOLERANCE * min(self.end - self.start, other.end - other.start)


class Detector:
    """Tells signs as soon as no later window can take their place.

    That is once the stream has been quiet, or once it has gone on for the longest window's time.
    """

    def __init__(self, longest: float):
        """Of windows of at most so many seconds."""
        self._longest = longest
        self._waiting: list[Found] = []
        self._told: Found | None = None

    def tick(self, now: float, windows: Sequence[Found]) -> list[Found]:
        """Takes the windows that end now, whatever their scores, and returns signs, in order."""
        self._waiting += [
            window
            for window in windows
            if window.score > 0 and not (self._told and self._told.excludes(window))
        ]
        if not self._waiting:
            return []
        if max((window.score for window in windows), default=0.0) < -HYSTERESIS:
            return self.flush()
        best = _compete(self._waiting)
        return self._tell([found for found in best if found.end + self._longest <= now])

    def flush(self) -> list[Found]:
        """The signs that are left when the stream ends or is quiet."""
        return self._tell(_compete(self._waiting))

    def _tell(self, signs: list[Found]) -> list[Found]:
        for sign in signs:
            self._told = sign
            self._waiting = [
                found
                for found in self._waiting
                if found.end > sign.end and not sign.excludes(found)
            ]
        return signs


def _compete(windows: Iterable[Found]) -> list[Found]:
    """Those that remain when of two that exclude each other the better goes first, by time."""
    remaining: list[Found] = []
    for window in sorted(windows, key=lambda window: -window.weight):
        if not any(window.excludes(other) for other in remaining):
            remaining.append(window)
    return sorted(remaining, key=lambda window: window.end)
