"""Intervals of metrics: Wilson's of shares of clips, bootstrap over clips or signers of the others.

Wilson's score interval is of a binomial share (Brown, Cai and DasGupta, Interval Estimation for a
Binomial Proportion, 2001). The bootstrap draws as many clips as there are, with replacement, and
takes the metric of each resample; the middle 95 % of 10,000 such values are the interval (Efron and
Tibshirani, An Introduction to the Bootstrap, chapter 13). Clips of one signer are not independent:
the cluster bootstrap draws signers, each with all clips, so its intervals hold for other people
(Davison and Hinkley, Bootstrap Methods and their Application, section 3.8).
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dstadapter_jax.evaluation.scores import MISS, TOP1, TOP5
from dstadapter_jax.html.formats import Interval

RESAMPLES, LEVEL, SEED = 10_000, 0.95, 0
METHOD = f"percentile bootstrap, {RESAMPLES:,} resamples, seed {SEED}"
CLIPS_METHOD = f"Wilson of top-1 and top-5, {METHOD} of mean class accuracy"
# Of two signers, the interval would say nothing more than both accuracies.
MIN_SIGNERS = 3
METRICS = ("top1", "top5", "mean_class_accuracy")
NUM_OUTCOMES = MISS + 1

_MAX_NUMBERS = 2_000_000  # in memory at a time, about 50 MB

Intervals = dict[str, Interval | None]  # None: not defined


def metrics_from_counts(
    counts: np.ndarray, share_present: float = 1.0, num_unlisted: np.ndarray | int = 0
) -> np.ndarray:
    """Top-1, top-5 and mean class accuracy, `(..., 3)`, in the order of `METRICS`.

    Args:
        counts: `(..., classes, NUM_OUTCOMES)` clips. The mean skips classes without clips, which a
            resample may lack although the split has them.
        share_present: Share of all classes that the split has; the others count as 0.
        num_unlisted: `(...)` further clips, wrong and of unknown class, as in `MissingClips`.
    """
    per_class, correct = counts.sum(axis=-1), counts[..., TOP1]
    clips = per_class.sum(axis=-1) + num_unlisted
    top1 = correct.sum(axis=-1) / clips
    top5 = (correct + counts[..., TOP5]).sum(axis=-1) / clips
    # A resample may hold clips of unknown class only.
    classes = np.maximum((per_class > 0).sum(axis=-1), 1)
    mean = (correct / np.maximum(per_class, 1)).sum(axis=-1) / classes
    return np.stack([top1, top5, mean * share_present], axis=-1)


def metrics(
    labels: np.ndarray, outcomes: np.ndarray, num_classes: int, num_unlisted: int = 0
) -> dict[str, float]:
    """The metrics of outcomes, equal to those of `Scores.metrics`."""
    counts = np.bincount(labels * NUM_OUTCOMES + outcomes, minlength=num_classes * NUM_OUTCOMES)
    counts = counts.reshape(num_classes, NUM_OUTCOMES)
    values = metrics_from_counts(counts, (counts.sum(axis=1) > 0).mean(), num_unlisted)
    return dict(zip(METRICS, values.tolist(), strict=True))


def clip_intervals(
    labels: np.ndarray, outcomes: np.ndarray, num_classes: int, num_unlisted: int = 0
) -> Intervals:
    """Intervals of `METRICS` over clips.

    If all clips or none are correct, all resamples are equal. Mean class accuracy then has the
    interval of top-1 times the share of classes that the split has.

    Args:
        labels: `(clips,)` true ids.
        outcomes: `(clips,)`, as `Scores.outcomes`.
        num_classes: Classes of the dataset.
        num_unlisted: Further wrong clips, as in `metrics_from_counts`.
    """
    clips = len(labels) + num_unlisted
    correct, in_top5 = int((outcomes == TOP1).sum()), int((outcomes != MISS).sum())
    intervals = _intervals(labels, [outcomes], num_classes, num_unlisted)
    intervals["top1"] = low, high = share_interval(correct, clips)
    intervals["top5"] = share_interval(in_top5, clips)
    if correct in (0, clips):
        present = len(np.unique(labels)) / num_classes
        intervals["mean_class_accuracy"] = low * present, high * present
    return intervals


def share_interval(successes: int, clips: int) -> Interval:
    """Wilson's score interval of a share of clips."""
    from scipy.stats import binomtest  # takes a second to import

    interval = binomtest(successes, clips).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def signer_intervals(
    labels: np.ndarray,
    outcomes: np.ndarray,
    num_classes: int,
    signers: np.ndarray,
    num_unlisted: int = 0,
) -> Intervals | None:
    """Intervals of `METRICS` over signers; None if fewer than `MIN_SIGNERS` are known.

    A metric that is equal for all signers has none: three faultless signers don't prove a fourth.

    Args:
        labels: `(clips,)` true ids.
        outcomes: `(clips,)`, as `Scores.outcomes`.
        num_classes: Classes of the dataset.
        signers: `(clips,)` names, '' where unknown; such clips are in every resample.
        num_unlisted: Further wrong clips, in every resample.
    """
    if _too_few(signers):
        return None
    return _intervals(labels, [outcomes], num_classes, num_unlisted, signers)


def difference_intervals(
    labels: np.ndarray,
    outcomes_a: np.ndarray,
    outcomes_b: np.ndarray,
    num_classes: int,
    signers: np.ndarray | None = None,
    num_unlisted: int = 0,
) -> Intervals | None:
    """Paired intervals of the difference of `METRICS` between two models, B - A.

    Args:
        labels: `(clips,)` true ids.
        outcomes_a: `(clips,)` outcomes of model A.
        outcomes_b: `(clips,)` outcomes of model B on the same clips.
        num_classes: Classes of the dataset.
        signers: If given, signers are drawn instead of clips, as in `signer_intervals`.
        num_unlisted: Further wrong clips, as in `metrics_from_counts`.
    """
    if signers is not None and _too_few(signers):
        return None
    return _intervals(labels, [outcomes_a, outcomes_b], num_classes, num_unlisted, signers)


def _too_few(signers: np.ndarray) -> bool:
    return len(set(signers) - {""}) < MIN_SIGNERS


def _intervals(
    labels: np.ndarray,
    outcomes: Sequence[np.ndarray],
    num_classes: int,
    num_unlisted: int,
    signers: np.ndarray | None = None,
) -> Intervals:
    """Bootstrap intervals of one model's metrics, or of the differences between two models."""
    present, cells = np.unique(labels, return_inverse=True)
    for model_outcomes in outcomes:
        cells = cells * NUM_OUTCOMES + model_outcomes
    share_present = len(present) / num_classes
    shape = (len(present), *[NUM_OUTCOMES] * len(outcomes))

    def statistic(counts: np.ndarray) -> np.ndarray:
        tables, unlisted = counts[:, :-1].reshape(-1, *shape), counts[:, -1]
        if len(outcomes) == 1:
            return metrics_from_counts(tables, share_present, unlisted)
        a, b = tables.sum(axis=-1), tables.sum(axis=-2)
        return metrics_from_counts(b, share_present, unlisted) - metrics_from_counts(
            a, share_present, unlisted
        )

    num_cells = math.prod(shape) + 1  # the last cell is for clips of unknown class
    cells = np.append(cells, np.full(num_unlisted, num_cells - 1))
    if signers is None:
        samples = resample(statistic, cells, num_cells)
        return dict(zip(METRICS, percentile_intervals(samples), strict=True))
    samples = resample(statistic, cells, num_cells, np.append(signers, np.full(num_unlisted, "")))
    return dict(zip(METRICS, _unless_equal(percentile_intervals(samples)), strict=True))


def mean_intervals(values: np.ndarray) -> list[Interval | None]:
    """Intervals of the means over people of `(people, metrics)`; people are drawn.

    A metric that is equal for all people has none.
    """
    people = len(values)
    drawn = np.random.default_rng(SEED).multinomial(people, np.full(people, 1 / people), RESAMPLES)
    return _unless_equal(percentile_intervals(drawn @ values / people))


def _unless_equal(intervals: Sequence[Interval]) -> list[Interval | None]:
    return [(low, high) if low < high else None for low, high in intervals]


def percentile_intervals(samples: np.ndarray) -> list[Interval]:
    """The interval of each column of `(resamples, metrics)`."""
    ends = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return [(float(low), float(high)) for low, high in ends.T]


def resample(
    statistic: Callable[[np.ndarray], np.ndarray],
    cells: np.ndarray,
    num_cells: int,
    signers: np.ndarray | None = None,
) -> np.ndarray:
    """A statistic of each resample, `(RESAMPLES, metrics)`.

    Args:
        statistic: Maps counts of clips in cells, `(rows, num_cells)`, to `(rows, metrics)`.
        cells: `(clips,)` cell of each clip.
        num_cells: Number of cells.
        signers: `(clips,)` names, to draw signers instead of clips.
    """
    if signers is None:
        counts = _draw_clips(cells, num_cells)
    else:
        counts = _draw_signers(cells, num_cells, signers)
    return np.concatenate([statistic(rows) for rows in counts])


def _draw_clips(cells: np.ndarray, num_cells: int) -> Iterator[np.ndarray]:
    rng, clips = np.random.default_rng(SEED), len(cells)
    for rows in _parts(max(clips, num_cells)):
        drawn = cells[rng.integers(clips, size=(rows, clips))]
        drawn += num_cells * np.arange(rows)[:, np.newaxis]
        yield np.bincount(drawn.ravel(), minlength=rows * num_cells).reshape(rows, num_cells)


def _draw_signers(cells: np.ndarray, num_cells: int, signers: np.ndarray) -> Iterator[np.ndarray]:
    names, numbers = np.unique(signers, return_inverse=True)
    tables = np.bincount(numbers * num_cells + cells, minlength=len(names) * num_cells)
    # Products of floats are faster than those of integers.
    tables = tables.reshape(len(names), num_cells).astype(np.float64)
    known, unknown = tables[names != ""], tables[names == ""].sum(axis=0)
    rng, each = np.random.default_rng(SEED), np.full(len(known), 1 / len(known))
    for rows in _parts(num_cells):
        yield rng.multinomial(len(known), each, size=rows) @ known + unknown


def _parts(numbers: int) -> Iterator[int]:
    """Yield the sizes of chunks of all resamples, if each takes a number of values."""
    at_once = max(1, _MAX_NUMBERS // numbers)
    for done in range(0, RESAMPLES, at_once):
        yield min(at_once, RESAMPLES - done)
