"""Geometry of the charts that `templates/charts.html` draws."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

import numpy as np

from dstadapter_jax.html.formats import shorten, text_width

MAX_NAMED_CLASSES = 40  # more names are illegible along an axis
MAX_NUMBERED_CLASSES = 20  # and more numbers in cells
NAMED_CELL, SMALL_CELL = 26, 4  # side, pixels
MAX_NAME_WIDTH = 18  # letters
LETTER_WIDTH = 6.2  # pixels
TITLE_HEIGHT = 26  # of an axis, pixels

MAX_BARS = 10
MAX_COLUMNS = 40

Counts = Mapping[str, int]  # by series, such as a split


def position(value: float, low: float, high: float) -> float:
    """Where a value lies between two ends, in percent; the nearer end if it lies outside."""
    return 100 * min(max((value - low) / (high - low), 0.0), 1.0)


def highest_total(rows: Mapping[str, Counts]) -> int:
    """The largest sum of a row's counts, at least 1: the end of a chart's axis."""
    return max((sum(counts.values()) for counts in rows.values()), default=0) or 1


@dataclasses.dataclass(frozen=True)
class ConfusionCell:
    """A cell of a confusion matrix: `count` of the `total` clips of the row's class."""

    row: int
    column: int
    count: int
    total: int

    @property
    def correct(self) -> bool:
        """Whether the cell lies on the diagonal."""
        return self.row == self.column

    @property
    def opacity(self) -> float:
        """Opacity by share, from a lower end at which a single clip is visible."""
        low = 0.15 if self.correct else 0.4
        return low + (1 - low) * self.count / self.total


class ConfusionChart:
    """A confusion matrix of any size."""

    def __init__(self, counts: np.ndarray, names: Sequence[str]):
        """Lays out `(classes, classes)` clips of each true class (row) by predicted (column)."""
        self.counts, self.names = counts, names
        self.named = len(names) <= MAX_NAMED_CLASSES
        self.numbered = len(names) <= MAX_NUMBERED_CLASSES
        self.cell = NAMED_CELL if self.named else SMALL_CELL
        self.ticks = [shorten(name, MAX_NAME_WIDTH) for name in names] if self.named else []
        widest = max(map(text_width, self.ticks), default=0)
        self.margin = round(TITLE_HEIGHT + LETTER_WIDTH * widest)
        self.side = self.margin + self.cell * len(names)

    def cells(self) -> Iterator[ConfusionCell]:
        """All cells that hold clips."""
        totals = self.counts.sum(axis=1).tolist()
        for row, column in np.argwhere(self.counts).tolist():
            yield ConfusionCell(row, column, int(self.counts[row, column]), totals[row])

    def start(self, place: int) -> int:
        """Where a row or column begins, pixels."""
        return self.margin + self.cell * place


def top_bars(counts: Mapping[str, Counts]) -> dict[str, Counts]:
    """The values of a bar chart; beyond `MAX_BARS`, the last bar sums up the others."""
    rows = list(counts.items())
    if len(rows) > MAX_BARS:
        rest = [row_counts for _, row_counts in rows[MAX_BARS - 1 :]]
        rows[MAX_BARS - 1 :] = [(f"{len(rest)} others", _sum(rest))]
    return dict(rows)


@dataclasses.dataclass(frozen=True)
class Histogram:
    """A histogram of integers, by series.

    Attributes:
        columns: Range of values, such as `10 to 19`, to the counts of each series.
        minimum: Smallest value.
        median: Upper median.
        maximum: Largest value.
    """

    columns: Mapping[str, Counts]
    minimum: int
    median: int
    maximum: int

    @classmethod
    def from_counts(cls, counts: Mapping[int, Counts]) -> Self:
        """Chooses ranges of 1, 2, 5, 10, … values, at most `MAX_COLUMNS` of them.

        The last range holds the largest 1 % of the values: with equal ranges, outliers would leave
        all other values in one range.
        """
        values = np.repeat(list(counts), [sum(series.values()) for series in counts.values()])
        values = np.sort(values).tolist()
        low, high = values[0], values[len(values) * 99 // 100]
        steps = (base * 10**power for power in itertools.count() for base in (1, 2, 5))
        step = next(step for step in steps if high // step - low // step < MAX_COLUMNS)
        columns = {}
        for start in range(low - low % step, high + 1, step):
            end = start + step if start + step <= high else values[-1] + 1
            inside = [series for value, series in counts.items() if start <= value < end]
            columns[f"{start:,} to {end - 1:,}"] = _sum(inside)
        return cls(columns, low, values[len(values) // 2], values[-1])


def _sum(counts: Sequence[Counts]) -> Counts:
    total = Counter[str]()
    for series in counts:
        total.update(series)
    return total
