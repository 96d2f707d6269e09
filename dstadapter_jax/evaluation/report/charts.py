"""Confusions and calibration as inline SVG."""

import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dstadapter_jax.evaluation.calibration import NUM_BINS, Calibration
from dstadapter_jax.evaluation.report.intervals import percent
from dstadapter_jax.html.markup import tag

CSS = Path(__file__).with_name("results.css")
NAMED_CLASSES = 40  # more names than that can't be read along an axis
COUNTED_CLASSES = 20  # nor more numbers in cells
CELL, SMALL_CELL = 26, 4
NAME_WIDTH = 18  # letters
LETTER = 6.2  # of the axes' names, pixels

PLOT, BARS = 300, 56  # the reliability diagram's side, and the height of the counts below it
LEFT, TOP, GAP = 52, 10, 36


def confusion(counts: np.ndarray, names: Sequence[str]) -> ET.Element:
    """A confusion matrix of any size; each cell tells its figures when pointed at.

    Args:
        counts: `(classes, classes)` clips of each true class (row) taken for each (column).
        names: By id.
    """
    classes, named = len(names), len(names) <= NAMED_CLASSES
    cell = CELL if named else SMALL_CELL
    texts = [_short(name) for name in names] if named else []
    margin = round(26 + LETTER * max(map(_width, texts), default=0))
    side = margin + cell * classes
    totals = counts.sum(axis=1)
    cells = [
        _cell(
            margin + cell * column,
            margin + cell * row,
            cell,
            int(counts[row, column]),
            f"{names[row]} taken for {names[column]}",
            int(totals[row]),
            right=row == column,
            numbered=classes <= COUNTED_CLASSES,
        )
        for row, column in np.argwhere(counts).tolist()
    ]
    told = f"Confusion matrix: {np.trace(counts):,} of {counts.sum():,} clips on its diagonal"
    ground = tag("rect", x=margin, y=margin, width=side - margin, height=side - margin)
    return tag(
        "svg",
        *(tag("title", told), ground, *cells, *_axes(texts, margin, cell, side)),
        viewBox=f"0 0 {side} {side}",
        role="img",
        class_="confusion" if named else "confusion unnamed",
        # Names stay readable on a phone: there the matrix scrolls.
        style=f"max-width:{side}px;min-width:{0.7 * side if named else 0:.0f}px",
    )


def _cell(
    x: int,
    y: int,
    side: int,
    count: int,
    what: str,
    total: int,
    *,
    right: bool,
    numbered: bool,
) -> ET.Element:
    share = count / total
    # A single clip must be seen.
    opacity = f"{0.15 + 0.85 * share:.2f}" if right else f"{0.4 + 0.6 * share:.2f}"
    parts = [
        tag("title", f"{what}: {count:,} of {total:,} clips"),
        tag("rect", x=x, y=y, width=side, height=side, fill_opacity=opacity),
    ]
    if numbered:
        middle = {"x": x + side // 2, "y": y + side // 2 + 4}
        parts.append(tag("text", f"{count:,}", **middle, text_anchor="middle"))
    return tag("g", *parts, class_=("right" if right else "wrong") + " dark" * (share > 0.45))


def _axes(texts: Sequence[str], margin: int, cell: int, side: int) -> Iterator[ET.Element]:
    for place, text in enumerate(texts):
        along = margin + cell * place + cell // 2 + 4
        yield tag("text", text, x=margin - 6, y=along, text_anchor="end")
        yield tag("text", text, transform=f"translate({along} {margin - 6}) rotate(-90)")
    middle = (margin + side) // 2
    centerd = {"text_anchor": "middle", "class_": "axis"}
    yield tag("text", "taken for", x=middle, y=14, **centerd)
    yield tag("text", "true sign", transform=f"translate(14 {middle}) rotate(-90)", **centerd)


def _short(name: str) -> str:
    text, kept = name, len(name)
    while _width(text) > NAME_WIDTH:
        kept -= 1
        text = f"{name[:kept]}…"
    return text


def _width(text: str) -> int:
    """In letters, of which Chinese ones take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def reliability(calibration: Calibration) -> ET.Element:
    """How often labels are right, by how sure the recognizer is of them, and for how many clips."""
    most, bottom = calibration.counts.max(), TOP + PLOT
    bins = [
        _bin(place, count, count / most, calibration.confidence[place], calibration.accuracy[place])
        for place, count in enumerate(calibration.counts.tolist())
        if count
    ]
    told = f"Reliability diagram: expected calibration error {percent(calibration.ece)}"
    return tag(
        "svg",
        tag("title", told),
        tag("rect", x=LEFT, y=TOP, width=PLOT, height=PLOT, class_="plot"),
        *bins,
        tag("line", x1=LEFT, y1=bottom, x2=LEFT + PLOT, y2=TOP, class_="ideal"),
        *_scales(bottom),
        viewBox=f"0 0 {LEFT + PLOT + 20} {bottom + GAP + BARS + 4}",
        role="img",
        class_="reliability",
    )


def _bin(place: int, count: int, share: float, sure: float, right: float) -> ET.Element:
    """How often it is right, how far that is from how sure it is; below, how many clips."""
    width, bottom = PLOT / NUM_BINS, TOP + PLOT
    across = {"x": f"{LEFT + width * place + 1:.2f}", "width": f"{width - 2:.2f}"}

    def bar(low: float, high: float, foot: float, height: float, class_: str) -> ET.Element:
        top = f"{foot - height * high:.2f}"
        return tag("rect", **across, y=top, height=f"{height * (high - low):.2f}", class_=class_)

    low, high = sorted((sure, right))
    return tag(
        "g",
        tag("title", f"{count:,} clips: {percent(right)} right, {percent(sure)} sure"),
        bar(0, low, bottom, PLOT, "accuracy"),
        bar(low, high, bottom, PLOT, "lacking" if right < sure else "beyond"),
        bar(0, share, bottom + GAP + BARS, BARS, "count"),
    )


def _scales(bottom: int) -> Iterator[ET.Element]:
    for share in (0, 0.5, 1):
        x, y = LEFT + PLOT * share, bottom - PLOT * share + 4
        yield tag("text", f"{share:.0%}", x=LEFT - 6, y=y, text_anchor="end")
        yield tag("text", f"{share:.0%}", x=x, y=bottom + 14, text_anchor="middle")
    middle = LEFT + PLOT / 2
    centerd = {"text_anchor": "middle", "class_": "axis"}
    yield tag("text", "probability of the best label", x=middle, y=bottom + 28, **centerd)
    turned = f"translate(12 {TOP + PLOT / 2}) rotate(-90)"
    yield tag("text", "how often it is right", transform=turned, **centerd)
    turned = f"translate(12 {bottom + GAP + BARS / 2}) rotate(-90)"
    yield tag("text", "clips", transform=turned, **centerd)
