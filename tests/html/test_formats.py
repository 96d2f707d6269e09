"""Numbers and names as text."""

import pytest

from dstadapter_jax.html import formats


def test_printable_shows_control_characters_as_escapes():
    text = "Ё日é a-b\n\x00\u202e\udcff"
    assert formats.printable(text) == "Ё日é a-b\\n\\x00\\u202e\\udcff"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (formats.percent(0.9444), "94.4%"),
        (formats.points(0.0312), "+3.1"),
        (formats.points(-0.0001), "0.0"),
        (formats.interval((0.903, 0.979)), "90.3 to 97.9%"),
        (formats.interval(None), "none"),
        (formats.points_interval((-0.012, 0.04)), "-1.2 to +4.0"),
        (formats.counted(1, "clip"), "1 clip"),
        (formats.counted(0, "clip"), "0 clips"),
        (formats.counted(2480, "clip"), "2,480 clips"),
        (formats.listed(["a", "b"], 2), "a, b"),
        (formats.listed(["a", "b", "c"], 2), "a, b and 1 more"),
    ],
)
def test_numbers_and_lists_read_as_text(text, expected):
    assert text == expected


@pytest.mark.parametrize("width", range(2, 30))
@pytest.mark.parametrize("text", ["a long name of a sign", "手語" * 8, "a手b語" * 9])
def test_shorten_fits_the_width_and_keeps_as_much_as_fits(text, width):
    short = formats.shorten(text, width)
    if short == text:
        assert formats.text_width(text) <= width
        return
    kept = short.removesuffix("…")
    assert text.startswith(kept)
    assert formats.text_width(short) <= width
    assert formats.text_width(text[: len(kept) + 1]) >= width
