"""Text of any script as pixels: Matplotlib's own font first, then the fonts of the system.

A character that no font has is shown by its code point, such as `[U+624B]`, never as an empty box.
"""

import bisect
import functools
import itertools
import logging
import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.font_manager import findfont, findSystemFonts, fontManager, get_font
from matplotlib.ft2font import FT2Font

_log = logging.getLogger(__name__)
_OWN_FAMILY = "DejaVu Sans"
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # part of Persian and Indic spelling


def drawable(text: str) -> str:
    """A line of text in which undrawable characters are replaced.

    Line breaks and other unprintable characters become U+FFFD; characters that no font has become
    their code points.
    """
    text = "".join(c if c.isprintable() or c in _JOINERS else "\ufffd" for c in text)
    runs = itertools.groupby(text, lambda c: c in _JOINERS or _font_with(ord(c)) is not None)
    return "".join("".join(run) if has_font else _code_points(run) for has_font, run in runs)


def font_families(texts: Sequence[str]) -> list[str]:
    """Font families that together have all characters of drawable texts, for Matplotlib."""
    families = [_OWN_FAMILY]
    for path in _font_files("".join(texts))[1:]:
        fontManager.addfont(path)
        families.append(get_font(path).family_name)
    return families


def render_line(
    text: str, size: int, max_width: int, *, bold: bool = False
) -> tuple[np.ndarray, int]:
    """Render a line of text; the middle of a text that is too long is omitted.

    Both ends are kept, since the last part of a path matters most.

    Args:
        text: The text; `drawable` is applied.
        size: Font size in pixels.
        max_width: Width in pixels.
        bold: Whether the letters are bold, where the font is Matplotlib's own.

    Returns:
        Coverage `(h, w)` uint8, 255 for ink, and the row of the baseline.
    """
    text = drawable(text)
    if _width(text, size, bold) > max_width:
        too_long = bisect.bisect_right(
            range(len(text)), max_width, key=lambda kept: _width(shorten(text, kept), size, bold)
        )
        text = shorten(text, max(too_long - 1, 0))
    font = _laid_out(text, size, bold)
    font.draw_glyphs_to_bitmap(antialiased=True)
    coverage = np.asarray(font.get_image())[:, :max_width]
    return coverage, len(coverage) - round(font.get_descent() / 64)


def shorten(text: str, kept: int) -> str:
    """A text without its middle if it has more than a number of characters."""
    if len(text) <= kept:
        return text
    return f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"


def _width(text: str, size: int, bold: bool) -> int:
    # In 26.6 fixed-point numbers.
    return math.ceil(_laid_out(text, size, bold).get_width_height()[0] / 64)


def _laid_out(text: str, size: int, bold: bool) -> FT2Font:
    font = get_font(_font_files(text, bold))
    font.set_size(size, 72)  # at 72 dots per inch a point is a pixel
    font.set_text(text)
    return font


def _font_files(text: str, bold: bool = False) -> list[str]:
    own = findfont(f"{_OWN_FAMILY}:{'bold' if bold else 'normal'}")
    others = (_font_with(ord(c)) for c in text)
    return list(dict.fromkeys([own, *(path for path in others if path not in (None, _own_font()))]))


def _code_points(characters: Iterable[str]) -> str:
    _warn_of_missing_fonts()
    return f"[{' '.join(f'U+{ord(c):04X}' for c in characters)}]"


@functools.cache  # once a process
def _warn_of_missing_fonts() -> None:
    _log.warning(
        "Some characters are in no font of this machine; pictures show their code points, such as"
        " [U+624B]. Install fonts that have them, for example Noto."
    )


@functools.cache
def _font_with(code_point: int) -> str | None:
    """The first font file that has a character."""
    files = itertools.chain([_own_font()], _system_fonts())
    return next((path for path in files if code_point in _code_points_of(path)), None)


@functools.cache
def _own_font() -> str:
    return findfont(_OWN_FAMILY)


@functools.cache
def _system_fonts() -> list[str]:
    """Font files of the system, upright sans-serif ones first."""

    def rank(path: str) -> tuple[bool, bool, str]:
        name = path.rpartition("/")[2].lower()
        styled = any(style in name for style in ("bold", "italic", "oblique", "mono", "light"))
        return styled, "sans" not in name, path

    # A font of this name draws boxes for all characters.
    fonts = (path for path in findSystemFonts() if "lastresort" not in path.lower())
    return sorted(fonts, key=rank)


@functools.cache
def _code_points_of(path: str) -> frozenset[int]:
    try:
        font = get_font(path)
    except (OSError, RuntimeError):  # damaged, or of a kind that FreeType does not read
        return frozenset()
    return frozenset(font.get_charmap()) if font.scalable else frozenset()  # no bitmap emoji
