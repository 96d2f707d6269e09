"""How far figures could be off: percentile bootstrap intervals, over clips and over signers.

A resample draws as many clips as there are, with replacement, and the figure is taken of it. The
middle 95 % of 10,000 such figures are the interval (Efron and Tibshirani, An Introduction to the
Bootstrap, chapter 13). Clips of one signer are not independent: the cluster bootstrap draws signers
instead, each with all their clips, and so speaks of signers who are not among those at hand
(Davison and Hinkley, Bootstrap Methods and their Application, section 3.8).
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dstadapter_jax.evaluation.scores import MISS, TOP1, TOP5

RESAMPLES, LEVEL, SEED = 10_000, 0.95, 0
METHOD = f"percentile bootstrap, {RESAMPLES:,} resamples, seed {SEED}"
# One of three signers alone is drawn in every 27th resample: the interval ends at the worst and the
# best. Of two it would say nothing more than these.
MIN_SIGNERS = 3
METRICS = ("top1", "top5", "mean_class_accuracy")
NUM_OUTCOMES = MISS + 1

_NUMBERS = 2_000_000  # held at a time: some 50 MB

Interval = tuple[float, float]
Intervals = dict[str, Interval | None]  # None: there is no telling


def metrics_from_counts(
    counts: np.ndarray, share_held: float = 1.0, num_unlisted: np.ndarray | int = 0
) -> np.ndarray:
    """Top-1, top-5 and mean class accuracy, `(..., 3)`, in the order of `METRICS`.

    Args:
        counts: `(..., classes, NUM_OUTCOMES)` clips. A class without any is left out of the mean:
            a resample may lack some that the split has.
        share_held: Of all classes, those that the split has; the others count 0.
        num_unlisted: `(...)` further clips, wrong and of no known class, as `LeftOut.num_unlisted`.
    """
    of_class, first = counts.sum(axis=-1), counts[..., TOP1]
    clips = of_class.sum(axis=-1) + num_unlisted
    top1 = first.sum(axis=-1) / clips
    top5 = (first + counts[..., TOP5]).sum(axis=-1) / clips
    # A resample may be of nothing but clips of no known class.
    classes = np.maximum((of_class > 0).sum(axis=-1), 1)
    mean = (first / np.maximum(of_class, 1)).sum(axis=-1) / classes
    return np.stack([top1, top5, mean * share_held], axis=-1)


def metrics(
    labels: np.ndarray, outcomes: np.ndarray, num_classes: int, num_unlisted: int = 0
) -> dict[str, float]:
    """The figures themselves, as `Scores.metrics`."""
    counts = np.bincount(labels * NUM_OUTCOMES + outcomes, minlength=num_classes * NUM_OUTCOMES)
    counts = counts.reshape(num_classes, NUM_OUTCOMES)
    found = metrics_from_counts(counts, (counts.sum(axis=1) > 0).mean(), num_unlisted)
    return dict(zip(METRICS, found.tolist(), strict=True))


def clip_intervals(
    labels: np.ndarray, outcomes: np.ndarray, num_classes: int, num_unlisted: int = 0
) -> Intervals:
    """Intervals of `METRICS` over clips.

    Where all clips are right, or none, resamples are all alike: then the other end is where so many
    clips alike would be seen in 5 % of all cases, `0.05 ** (1 / clips)` if all are right.

    Args:
        labels: `(clips,)` true ids.
        outcomes: `(clips,)`, as `Scores.outcomes`.
        num_classes: Of the dataset.
        num_unlisted: Further clips, as in `metrics_from_counts`.
    """
    found = _intervals(labels, [outcomes], num_classes, num_unlisted)
    clips = len(labels) + num_unlisted
    top1, top5 = ((outcomes < worse).sum() / clips for worse in (TOP5, MISS))
    held = len(np.unique(labels)) / num_classes
    for name, share, scale in zip(METRICS, (top1, top5, top1), (1, 1, held), strict=True):
        if share in (0, 1):
            low, high = _exact(share, clips)
            found[name] = low * scale, high * scale
    return found


def signer_intervals(
    labels: np.ndarray,
    outcomes: np.ndarray,
    num_classes: int,
    signers: np.ndarray,
    num_unlisted: int = 0,
) -> Intervals | None:
    """Intervals of `METRICS` over signers; None if fewer than `MIN_SIGNERS` are known.

    A figure that is the same for all signers has none: three faultless ones don't prove a fourth.

    Args:
        labels: As in `clip_intervals`.
        outcomes: As there.
        num_classes: As there.
        signers: `(clips,)` names, '' where unknown; such clips are in every resample.
        num_unlisted: As there; in every resample, too.
    """
    if _too_few(signers):
        return None
    return _intervals(labels, [outcomes], num_classes, num_unlisted, signers)


def difference_intervals(
    labels: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    num_classes: int,
    signers: np.ndarray | None = None,
    num_unlisted: int = 0,
) -> Intervals | None:
    """Intervals of how much `METRICS` differ, of two models on the same clips (paired).

    Args:
        labels: `(clips,)` true ids.
        before: `(clips,)` outcomes of one model.
        after: `(clips,)` of the other, less whose figures those of `before` are.
        num_classes: Of the dataset.
        signers: As in `signer_intervals`, to draw signers and not clips.
        num_unlisted: As there.
    """
    if signers is not None and _too_few(signers):
        return None
    return _intervals(labels, [before, after], num_classes, num_unlisted, signers)


def _too_few(signers: np.ndarray) -> bool:
    return len(set(signers) - {""}) < MIN_SIGNERS


def _intervals(
    labels: np.ndarray,
    outcomes: Sequence[np.ndarray],
    num_classes: int,
    num_unlisted: int,
    signers: np.ndarray | None = None,
) -> Intervals:
    """Of the figures of one model, or of how much those of a second one differ from them."""
    held, cells = np.unique(labels, return_inverse=True)
    for of_model in outcomes:
        cells = cells * NUM_OUTCOMES + of_model
    share_held, shape = len(held) / num_classes, (len(held), *[NUM_OUTCOMES] * len(outcomes))

    def statistic(counts: np.ndarray) -> np.ndarray:
        tables, no_class = counts[:, :-1].reshape(-1, *shape), counts[:, -1]
        if len(outcomes) == 1:
            return metrics_from_counts(tables, share_held, no_class)
        before, after = tables.sum(axis=-1), tables.sum(axis=-2)
        return metrics_from_counts(after, share_held, no_class) - metrics_from_counts(
            before, share_held, no_class
        )

    num_cells = math.prod(shape) + 1  # the last one is of clips of no known class
    cells = np.append(cells, np.full(num_unlisted, num_cells - 1))
    if signers is None:
        samples = resample(statistic, cells, num_cells)
        return dict(zip(METRICS, percentile_interval(samples), strict=True))
    samples = resample(statistic, cells, num_cells, np.append(signers, np.full(num_unlisted, "")))
    ends = [(low, high) if low < high else None for low, high in percentile_interval(samples)]
    return dict(zip(METRICS, ends, strict=True))


def mean_intervals(figures: np.ndarray) -> list[Interval | None]:
    """Of the mean over people, of each column of `(people, figures)`: people are drawn.

    None where all are alike, as in `signer_intervals`.
    """
    people = len(figures)
    drawn = np.random.default_rng(SEED).multinomial(people, np.full(people, 1 / people), RESAMPLES)
    return [
        ends if ends[0] < ends[1] else None
        for ends in percentile_interval(drawn @ figures / people)
    ]


def share_interval(right: int, clips: int) -> Interval:
    """The interval of a share of clips; a resample's number of right ones is binomial."""
    if right in (0, clips):
        return _exact(right / clips, clips)
    drawn = np.random.default_rng(SEED).binomial(clips, right / clips, (RESAMPLES, 1))
    return percentile_interval(drawn / clips)[0]


def _exact(share: float, clips: int) -> Interval:
    bound = (1 - LEVEL) ** (1 / clips)  # one end alone can be wrong
    return (bound, 1.0) if share == 1 else (0.0, 1 - bound)


def percentile_interval(samples: np.ndarray) -> list[Interval]:
    """The interval of each column of `(resamples, figures)`."""
    ends = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return [(float(low), float(high)) for low, high in ends.T]


def resample(
    statistic: Callable[[np.ndarray], np.ndarray],
    cells: np.ndarray,
    num_cells: int,
    signers: np.ndarray | None = None,
) -> np.ndarray:
    """What a figure comes to in each resample, `(RESAMPLES, figures)`.

    Args:
        statistic: Maps counts of clips in cells, `(rows, num_cells)`, to `(rows, figures)`.
        cells: `(clips,)`, the cell of each clip.
        num_cells: How many there are.
        signers: `(clips,)` names, to draw signers and not clips.
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
    tables = tables.reshape(len(names), num_cells).astype(np.float64)  # whose products are fast
    known, unknown = tables[names != ""], tables[names == ""].sum(axis=0)
    rng, each = np.random.default_rng(SEED), np.full(len(known), 1 / len(known))
    for rows in _parts(num_cells):
        yield rng.multinomial(len(known), each, size=rows) @ known + unknown


def _parts(numbers: int) -> Iterator[int]:
    """Resamples to hold at a time, if one takes so many numbers."""
    some = max(1, _NUMBERS // numbers)
    for done in range(0, RESAMPLES, some):
        yield min(some, RESAMPLES - done)
