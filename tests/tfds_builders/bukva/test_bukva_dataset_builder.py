"""Bukva, built from a few real clips."""

import pytest

from tests.helpers.builds import build_by_id
from tests.helpers.dataset_trees import (
    bukva_rows,
    put,
    write_tsv,
)
from tests.helpers.errors import raises
from tests.helpers.stored_clips import check_clip, frame_numbers
from tfds_builders.excluded import UnusableClipsError
from tfds_builders.listing import SPLITS

STORAGES = ["", "-original"]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("base", ["", "-upstream"])
@pytest.mark.parametrize("variant", ["trimmed", "original"])
def test_build_stores_the_listed_clips(tmp_path, clip_files, variant, base, storage):
    rows = [row for row in bukva_rows(3, 1) if row[2] in "ЁЯ"]
    source, out = tmp_path / "bukva", tmp_path / "out"
    write_tsv(source, rows)
    put(source, [f"trimmed/{row[0]}" for row in rows], clip_files["b"])
    put(source, [f"original/{row[0]}" for row in rows], clip_files["o"])
    info, examples = build_by_id(f"bukva/{variant}{base}{storage}", source, out)
    assert info.features["label"].num_classes == (34 if base else 33)
    assert [len(examples[split]) for split in SPLITS] == [2, 2, 2]
    labels = [example["label"] for example in examples["test"].values()]
    assert labels == ([1, 33] if base else [0, 32])
    assert ("no_event" in info.metadata["missing_labels"]["test"]) == bool(base)
    example = examples["test"]["id-2-0"]
    if variant == "trimmed":
        check_clip(example, 4, 1920, 1080, 30)
        assert frame_numbers(example) == [0, 1, 2, 3]
    else:
        # begin and end are 2 and 5, both included.
        assert (example["num_frames"], example["height"], example["width"]) == (4, 320, 180)
        assert frame_numbers(example) == [2, 3, 4, 5]
        assert ("first_frame" in example) == bool(storage)
    if storage:
        assert example["video"] == clip_files["b" if variant == "trimmed" else "o"]


def test_build_segment_beyond_the_end_raises(tmp_path, clip_files):
    """The last frame may be given as the number of frames; more is an error."""
    rows = [row for row in bukva_rows(3, 1) if row[2] in "ЁЯ"]
    source, out = tmp_path / "bukva", tmp_path / "out"
    put(source, [f"original/{row[0]}" for row in rows], clip_files["o"])
    rows[-1][3:5] = ["6", "8"]
    write_tsv(source, rows)
    _, examples = build_by_id("bukva/original", source, out)
    assert frame_numbers(examples["test"]["id-2-32"]) == [6, 7]
    rows[-1][4] = "9"
    write_tsv(source, rows)
    with raises(
        UnusableClipsError, problem="id-2-32: has 8 frames, but the sign is listed in frames 6 to 9"
    ):
        build_by_id("bukva/original", source, tmp_path / "other")
