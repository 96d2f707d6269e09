"""Figures with their intervals, as text and drawn on a line."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping

from dstadapter_jax.evaluation import bootstrap
from dstadapter_jax.evaluation.bootstrap import Interval
from dstadapter_jax.html.markup import tag

TITLES = dict(zip(bootstrap.METRICS, ("Top-1", "Top-5", "Mean class accuracy"), strict=True))
FEW_SIGNERS = 10  # intervals over fewer are known to be too narrow


def percent(share: float) -> str:
    """A share as text: `94.4%`."""
    return f"{share:.1%}"


def points(difference: float) -> str:
    """A difference of shares as text, in percentage points: `+3.1`."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def interval_text(interval: Interval | None) -> str:
    """An interval of a share as text: `90.3 to 97.9%`."""
    return f"{100 * interval[0]:.1f} to {percent(interval[1])}" if interval else "none"


def scale(
    value: float, *intervals: Interval | None, ends: tuple[float, float] = (0, 1)
) -> ET.Element:
    """A line with a figure on it, and its intervals: the first a band, the second a frame."""
    low, high = ends

    def place(number: float) -> float:
        return 100 * min(max((number - low) / (high - low), 0), 1)

    bands = [
        tag("i", class_=f"band{number}", style=f"left:{start:.2f}%;width:{end - start:.2f}%")
        for number, interval in enumerate(intervals)
        if interval
        for start, end in [map(place, interval)]
    ]
    zero = [tag("i", class_="zero", style=f"left:{place(0):.2f}%")] if low < 0 else []
    dot = tag("i", class_="dot", style=f"left:{place(value):.2f}%")
    return tag("span", *zero, *bands, dot, class_="scale", aria_hidden="true")


def card(title: str, figure: str, line: ET.Element, told: Mapping[str, str]) -> ET.Element:
    """A figure in large letters, drawn below, and what else is told of it, by name."""
    entries = [tag("div", tag("dt", f"{name} "), tag("dd", value)) for name, value in told.items()]
    return tag(
        "div",
        tag("h2", title),
        tag("p", figure, class_="big"),
        line,
        tag("dl", *entries, class_="key"),
    )


def about_intervals(num_signers: int, *, paired: bool = False) -> ET.Element:
    """What the intervals mean, and over how many signers the second kind is."""
    text = (
        f"95% intervals: {'paired ' * paired}{bootstrap.METHOD}. Over clips (band): how far the"
        " figure would move with other clips of the same people. Clips of one signer aren't"
        " independent, so that it is too narrow for new people."
    )
    if num_signers < bootstrap.MIN_SIGNERS:
        text += (
            f" There is none over signers: {num_signers or 'none'} known, and it takes at least"
            f" {bootstrap.MIN_SIGNERS} to tell how much people differ."
        )
    else:
        text += (
            " Over signers (frame), each drawn with all their clips: how far it would move with"
            f" {num_signers} other people."
        )
        if num_signers < FEW_SIGNERS:
            text += " Of so few it is rough: the wider of the two is the safer one."
    if paired:
        text += " How far training with another seed would move it, neither tells."
    return tag("p", text, class_="soft")
