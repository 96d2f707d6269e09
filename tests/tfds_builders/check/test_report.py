"""Reports on real clips."""

import pytest

from tests.helpers.checks import ROWS, builds, check, texts
from tests.helpers.dataset_trees import (
    autsl_source,
    put,
    put_autsl,
    put_listed,
    put_small_autsl,
    unlike,
)
from tfds_builders.include import index as include
from tfds_builders.listing import SPLITS


def test_make_unpublished_clips_are_a_note(source, out, mp4):
    missing_word = "Days_and_Time/Second (Number)/"
    for number, name in enumerate(
        path for split in SPLITS for path in include.listed("full", split)[:40]
    ):
        if not name.startswith(missing_word):
            put(source, [name], unlike(mp4, number))
    _, report = check("include/full", source, out, "--max_missing", "0.999")
    never = [len(report["splits"][split]["unavailable"]) for split in SPLITS]
    assert never == [6, 1, 1]
    assert "train: 6 listed clips never published." in texts(report, "note")
    assert "Second (Number)" in report["splits"]["train"]["absent_labels"]


@pytest.mark.parametrize(("bound", "status"), [("0.4", 0), ("0.39", 1), (None, 1)])
def test_make_bound_is_that_of_a_build(source, out, tmp_path, mp4, bound, status, capsys):
    """One of five training clips is missing, another is cut off."""
    rows = [f"signer0_sample{i},{i}" for i in range(1, 6)]
    autsl_source(source, "\r\n".join(rows).encode())
    for number, clip in enumerate([*rows, "signer1_sample1", "signer6_sample1"]):
        put(source, [f"{clip.split(',')[0]}_color.mp4"], unlike(mp4, number))
    (source / "signer0_sample2_color.mp4").unlink()
    put(source, ["signer0_sample5_color.mp4"], mp4[:500])
    options = ["--max_missing", bound] if bound else []
    found, report = check("autsl", source, out, *options)
    assert found == status
    assert "would NOT build" in capsys.readouterr().out or not status
    assert builds("autsl", source, tmp_path / "data", *options) == (not status)
    train = report["splits"]["train"]
    assert (train["listed"], train["found"], train["usable"]) == (5, 4, 3)
    assert (train["within_bound"], report["splits"]["test"]["within_bound"]) == (not status, True)
    unusable = [one["id"] for one in train["missing"] + train["unreadable"]]
    assert unusable == ["signer0_sample2", "signer0_sample5"]
    assert train["missing"][0]["reason"] == "no such file"
    assert "is not a video, is damaged" in train["unreadable"][0]["reason"]
    assert train["unreadable"][0]["path"] == "signer0_sample5_color.mp4"
    (text,) = texts(report, "error" if status else "warning")[:1]
    assert text.startswith("train: 40.00% of the clips are unusable (1 missing, 1 unreadable)")
    page = (out / "check_autsl_rgb.html").read_text(encoding="utf-8")
    assert ("Would not build" in page) == bool(status)


def test_make_recordings_with_an_unusable_clip_would_not_build(source, out, tmp_path, mp4):
    put_listed(source, ROWS, mp4)
    put(source, ["b.mp4"], b"")
    status, report = check("recordings", source, out)
    assert (status, report["max_missing"]) == (1, 0)
    assert not builds("recordings", source, tmp_path / "data")
    assert "is empty (0 bytes)" in report["splits"]["train"]["unreadable"][0]["reason"]
    assert texts(report, "error")[0].endswith("--max_missing.")


def test_make_truncated_list_is_an_error(source, out, mp4, capsys):
    put_small_autsl(source, mp4)
    status, report = check("autsl", source, out, num_clips={"test": 3_742})
    assert (status, report["splits"]["test"]["num_unlisted"]) == (1, 3_741)
    (error,) = texts(report, "error")
    assert error.startswith("test: 99.97% of the clips are unusable (3,741 not listed), but only")
    warning = "test: 1 clips listed, 3,742 in the official split"
    assert warning in report["lists"]["warnings"]
    assert f"warning: {warning}\n" in capsys.readouterr().out


def test_make_unlisted_clips_are_a_warning(source, out, mp4):
    put_small_autsl(source, mp4)
    more = [f"train/signer0_sample{i}_color.mp4" for i in range(100, 107)]
    put(source, more)
    _, report = check("autsl", source, out)
    assert report["lists"]["unlisted"] == more
    (warning,) = [text for text in texts(report, "warning") if "on no list" in text]
    assert warning.startswith(f"7 clip(s) are on no list, and left out: {more[0]}")
    page = (out / "check_autsl_rgb.html").read_text(encoding="utf-8")
    assert more[-1] in page


def test_make_with_a_part_of_the_folder_reports_the_whole(source, out, mp4):
    """Not the part of it that the user gave."""
    put_autsl(source, {"a": mp4})
    put(source, ["val/val/signer1_sample1_color.mp4"], b"")
    _, report = check("autsl", source / "train", out)
    assert report["folder"] == str(source)
    (unreadable,) = report["splits"]["validation"]["unreadable"]
    assert unreadable["path"] == "val/val/signer1_sample1_color.mp4"
