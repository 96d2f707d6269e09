"""Bars and columns, as HTML and inline SVG."""

import itertools
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

from dstadapter_jax.html.markup import tag
from tfds_builders.check.report import Counts
from tfds_builders.listing import SPLITS

MAX_BARS = 10
MAX_COLUMNS = 40
Column = tuple[str, Mapping[str, int]]  # what it stands for, and the clips of each split


def legend() -> ET.Element:
    """Which color is which split."""
    names = [tag("span", tag("i", class_=f"swatch {split}"), split) for split in SPLITS]
    return tag("p", *names, class_="legend")


def bars(counts: Counts) -> ET.Element:
    """A bar for each value, cut into splits; rare values share the last one."""
    rows = list(counts.items())
    if len(rows) > MAX_BARS:
        rest = [of_split for _, of_split in rows[MAX_BARS - 1 :]]
        rows[MAX_BARS - 1 :] = [(f"{len(rest)} others", _sum(rest))]
    most = max((sum(of_split.values()) for _, of_split in rows), default=1)
    return tag("div", *(_bar(value, of_split, most) for value, of_split in rows), class_="bars")


def _bar(value: str, of_split: Mapping[str, int], most: int) -> ET.Element:
    parts = [
        tag(
            "i", class_=split, style=f"width:{100 * count / most:.3f}%", title=f"{split}: {count:,}"
        )
        for split, count in of_split.items()
        if count
    ]
    total = f"{sum(of_split.values()):,}"
    name = tag("span", value, class_="name")
    return tag("div", name, tag("span", *parts, class_="track"), tag("b", total), class_="bar")


def histogram(counts: Counts) -> ET.Element:
    """Columns over the values, which are whole numbers, in steps that people count in."""
    each = sorted(n for value, of in counts.items() for n in [int(value)] * sum(of.values()))
    # A few very long clips would push all others into one column: they share the last one.
    low, high = each[0], each[len(each) * 99 // 100]
    steps = (base * 10**power for power in itertools.count() for base in (1, 2, 5))
    step = next(step for step in steps if high // step - low // step < MAX_COLUMNS)
    columns = []
    for start in range(low - low % step, high + 1, step):
        end = start + step if start + step <= high else each[-1] + 1
        inside = [of for value, of in counts.items() if start <= int(value) < end]
        columns.append((f"{start:,} to {end - 1:,}", _sum(inside)))
    known = {"least": low, "median": each[len(each) // 2], "most": each[-1]}
    caption = [tag("span", f"{name} {number:,}") for name, number in known.items()]
    return tag("figure", stacked(columns), tag("figcaption", *caption))


def stacked(columns: Sequence[Column]) -> ET.Element:
    """Columns cut into splits, as wide as there is room; each tells its figures when pointed at."""
    most = max((sum(of_split.values()) for _, of_split in columns), default=0) or 1
    drawn = []
    for x, (name, of_split) in enumerate(columns):
        figures = ", ".join(f"{split} {count:,}" for split, count in of_split.items())
        parts, top = [tag("title", f"{name}: {figures}")], float(most)
        for split, count in of_split.items():
            top -= count
            parts.append(_rect(x, top, count, split))
        # All of the column's height answers to the pointer.
        drawn.append(tag("g", *parts, _rect(x, 0, most, "hit")))
    return tag(
        "svg", *drawn, viewBox=f"0 0 {len(columns)} {most}", preserveAspectRatio="none", role="img"
    )


def _rect(x: int, y: float, height: float, class_: str) -> ET.Element:
    gap = 0.0 if class_ == "hit" else 0.1
    return tag("rect", x=x + gap, y=y, width=1 - 2 * gap, height=height, class_=class_)


def _sum(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {split: sum(of_split[split] for of_split in counts) for split in SPLITS}
