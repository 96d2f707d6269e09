"""From what the network says of a stream to the signs in it, as soon as each is known."""

from collections.abc import Iterable, Iterator

import numpy as np

from dstadapter_jax.stream.detector import Detector, Found
from dstadapter_jax.stream.looking import Look
from dstadapter_jax.stream.scoring import NoSign


def detect(looks: Iterable[Look], no_sign: NoSign, longest: float) -> Iterator[tuple[float, Found]]:
    """Yields the signs of a stream, each with the seconds at which it is known.

    Args:
        looks: As they come.
        no_sign: What makes a window a sign.
        longest: Seconds of the longest window.
    """
    detector, now = Detector(longest), 0.0
    for seen in looks:
        now = seen.now
        for sign in detector.tick(now, judge(seen, no_sign)):
            yield now, sign
    for sign in detector.flush():
        yield now, sign


def judge(seen: Look, no_sign: NoSign) -> list[Found]:
    """What each window shows, whatever its score."""
    outputs = seen.outputs
    rows = zip(
        outputs.labels,
        seen.starts,
        no_sign.scores(outputs),
        np.exp(outputs.log_probabilities.max(axis=1)),
        strict=True,
    )
    return [
        Found(int(label), start, seen.now, float(score), float(probability))
        for label, start, score, probability in rows
    ]
