"""Numbers and names as text for pages, pictures and terminals."""

import unicodedata
from collections.abc import Sequence

Interval = tuple[float, float]  # lower and upper end


def printable(text: str) -> str:
    r"""Replaces control characters, which can hide or reorder text, by escapes like `\u202e`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def percent(share: float) -> str:
    """A share as text: `94.4%`."""
    return f"{share:.1%}"


def points(difference: float) -> str:
    """A difference of two shares in percentage points: `+3.1`."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def interval(ends: Interval | None) -> str:
    """An interval of a share: `90.3 to 97.9%`."""
    return f"{100 * ends[0]:.1f} to {percent(ends[1])}" if ends else "none"


def points_interval(ends: Interval | None) -> str:
    """An interval of a difference of shares: `-1.2 to +4.0`."""
    return f"{points(ends[0])} to {points(ends[1])}" if ends else "none"


def thousands(number: int) -> str:
    """An integer with separators: `12,480`."""
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 clip`, `2,480 clips`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def listed(names: Sequence[str], limit: int) -> str:
    """The first names and the number of the others: `a, b and 3 more`."""
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest:,} more" if rest > 0 else "")


def text_width(text: str) -> int:
    """The width in letters; a Chinese character is two letters wide."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def shorten(text: str, width: int) -> str:
    """The text, or as much of its beginning as fits into a width in letters, with an ellipsis."""
    if text_width(text) <= width:
        return text
    kept = len(text)
    while text_width(text[:kept]) >= width:
        kept -= 1
    return f"{text[:kept]}…"
