"""Text of any script in pictures."""

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from dstadapter_jax.visualization import text as text_module
from dstadapter_jax.visualization.text import drawable, font_families, render_line, shorten


def write_font(path, family, characters):
    """A font whose characters all are a square of half the font's size."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 500), (500, 500), (500, 0)):
        pen.lineTo(point)
    pen.closePath()
    names = [".notdef", *(f"uni{ord(c):04X}" for c in characters)]
    font = FontBuilder(1000)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(c): f"uni{ord(c):04X}" for c in characters})
    font.setupGlyf(dict.fromkeys(names, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(names, (600, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": family, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)


@pytest.fixture
def system_fonts(tmp_path, monkeypatch):
    """A machine with a font that has two Chinese characters, and a damaged one."""
    write_font(tmp_path / "squares.ttf", "Squares Only", "手語")
    (tmp_path / "damaged.ttf").write_bytes(b"not a font")
    write_font(tmp_path / "LastResort.ttf", "Boxes", "नम手")
    files = [str(path) for path in sorted(tmp_path.iterdir())]
    monkeypatch.setattr(text_module, "findSystemFonts", lambda: files)
    caches = (text_module._font_with, text_module._system_fonts, text_module._warn_of_missing_fonts)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def test_drawable_text_of_installed_fonts_is_unchanged(system_fonts):
    for text in ("şeker İı", "Ёж Й", "سلام", "می\u200cروم", "手語", "a$^$_{"):
        assert drawable(text) == text


def test_drawable_replaces_only_characters_that_no_font_has(system_fonts, caplog):
    assert drawable("sign 手 नम 語") == "sign 手 [U+0928 U+092E] 語"
    assert drawable("love 🤟") == "love [U+1F91F]"
    assert [record.levelname for record in caplog.records] == ["WARNING"]  # once


def test_drawable_replaces_line_breaks_and_control_characters(system_fonts):
    assert drawable("a\nb\t\u202ec\udcff") == "a\ufffdb\ufffd\ufffdc\ufffd"


def test_font_families_name_the_fallback_of_missing_characters(system_fonts):
    assert font_families(["abc", "Ж"]) == ["DejaVu Sans"]
    assert font_families(["abc", "手"]) == ["DejaVu Sans", "Squares Only"]


def test_render_line_draws_characters_of_a_fallback_font(system_fonts):
    coverage, baseline = render_line("手語", 20, 100)
    assert baseline == len(coverage)
    # Two squares of half of 20 pixels; 600 units of advance leave two pixels between them.
    ink = (coverage > 127).sum(axis=0)
    assert ink[ink.nonzero()[0][0] :][:22].tolist() == [*[10] * 10, 0, 0, *[10] * 10]


def test_render_line_without_descenders_ends_at_the_baseline():
    coverage, baseline = render_line("H", 20, 100)
    assert baseline == len(coverage)
    coverage, baseline = render_line("g", 20, 100)
    assert baseline < len(coverage)


@pytest.mark.parametrize(
    "text", ["W" * 1000, "long words " * 100, "e\N{COMBINING ACUTE ACCENT}" * 99, "سلام " * 99]
)
def test_render_line_of_long_text_uses_the_width(text):
    coverage, _ = render_line(text, 13, 400)
    letter = render_line("W", 13, 400)[0].shape[1]
    assert 400 - 2 * letter < coverage.shape[1] <= 400
    assert np.any(coverage[:, -2 * letter :])


def test_render_line_narrower_than_a_letter_is_an_ellipsis_at_most():
    assert render_line("W" * 9, 13, 5)[0].shape[1] <= 5


@pytest.mark.parametrize(
    ("kept", "expected"), [(0, "…"), (1, "a…"), (4, "ab…ef"), (5, "abc…ef"), (6, "abcdef")]
)
def test_shorten_keeps_both_ends(kept, expected):
    assert shorten("abcdef", kept) == expected
