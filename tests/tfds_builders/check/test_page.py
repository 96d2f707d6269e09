"""The page of a check."""

import os
from pathlib import Path

from tests.helpers.checks import ROWS, check
from tests.helpers.dataset_trees import put, put_listed, unlike
from tests.helpers.html_page import Page


def test_page_names_from_outside_are_text_only(source, out, mp4, capsys):
    label, folder = "</td><script>alert(1)</script>", "<img src=x onerror=alert(1)>"
    ansi, entity = f"{folder}/\x1b[31m.mp4", f"{folder}/&amp;'.mp4"
    rows = [row.replace(",bye,", f",{label},") for row in ROWS]
    rows += [f"{ansi},hi,anna,train", f"{entity},a\u202eb,anna,train", "g.mp4,a\u202eb,cem,test"]
    put_listed(source, rows, mp4)
    put(source, [ansi, entity], b"")
    _, report = check("recordings", source, out)
    page = Page(out / "check_recordings_frames.html")
    page.check()
    assert not page.all("img")
    for name in (label, entity, f"{folder}/\\x1b[31m.mp4", "a\\u202eb"):
        assert name in page.text
    assert "a\u202eb" in report["labels"], "the JSON has names as they are"
    assert "\x1b" not in capsys.readouterr().out


def test_page_shows_names_that_are_not_utf8(source, out, mp4, capsys):
    for label in ("hi", "bye"):
        for number in range(3):
            put(source, [f"{label}/{number}.mp4"], unlike(mp4, number + 3 * (label == "hi")))
    Path(os.fsdecode(os.fsencode(source) + b"/hi/notes\xff.txt")).write_text("")
    _, report = check("recordings", source, out)
    assert report["lists"]["warnings"] == ["1 file(s) left out, no videos: hi/notes\udcff.txt"]
    assert "hi/notes\\udcff.txt" in capsys.readouterr().out
    assert "hi/notes\\udcff.txt" in Page(out / "check_recordings_frames.html").text


def test_page_truncates_long_tables_but_not_the_json(source, out, mp4):
    put(source, ["064_009_005.mp4"], mp4)
    put(source, ["064_010_005.mp4"], b"")
    _, report = check("lsa64", source, out)
    assert len(report["splits"]["train"]["missing"]) == 2560
    path = out / "check_lsa64_signer_independent.html"
    shown = Page(path).text
    assert "… and 2,999 more: the JSON file lists all." in shown
    assert "064_010_005.mp4" in shown, "the test split's, before the missing of train"
    assert shown.count("no such file") == 199 + 1  # and one that counts them
    assert path.stat().st_size < 100_000
