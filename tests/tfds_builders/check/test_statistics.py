"""Statistics of real clips."""

import shutil

from tests.helpers.checks import ROWS, check, texts
from tests.helpers.clips import barcoded_frames, write_clip
from tests.helpers.dataset_trees import bukva_rows, put, put_listed, unlike, write_tsv
from tfds_builders.listing import SPLITS
from tfds_builders.lsa64 import index as lsa64


def test_find_copies_across_and_within_splits(source, out, mp4):
    put_listed(source, ROWS, mp4)
    shutil.copy(source / "a.mp4", source / "e.mp4")  # train and test
    shutil.copy(source / "b.mp4", source / "c.mp4")  # both train; one is hi, one bye
    _, report = check("recordings", source, out)
    (across,), (within,) = report["copies"]["across_splits"], report["copies"]["within_split"]
    assert [(copy["id"], copy["split"]) for copy in across] == [
        ("a.mp4", "train"),
        ("e.mp4", "test"),
    ]
    assert [(copy["id"], copy["label"]) for copy in within] == [("b.mp4", "hi"), ("c.mp4", "bye")]
    warnings = texts(report, "warning")
    assert any("1 clip in several splits, as 2 ids" in text for text in warnings)
    assert "1 clip more than once in one split." in warnings
    assert "1 clip with several labels." in warnings


def test_find_copies_ignores_unreadable_clips(source, out, mp4):
    put_listed(source, ROWS, mp4)
    put(source, ["a.mp4", "e.mp4"], b"")
    _, report = check("recordings", source, out)
    assert report["copies"]["across_splits"] == []


def test_find_copies_of_other_segments_are_different(source, out, mp4):
    rows = [row for row in bukva_rows(3, 1) if row[2] in "ЁЯ"]
    train = [row for row in rows if row[7] == "True"]
    for begin, row in enumerate(train):
        row[3] = str(begin)
    write_tsv(source, rows)
    put(source, [f"original/{row[0]}" for row in train], mp4)
    for number, row in enumerate(row for row in rows if row not in train):
        put(source, [f"original/{row[0]}"], unlike(mp4, number))
    _, report = check("bukva/original", source, out)
    assert report["copies"]["across_splits"] == report["copies"]["within_split"] == []
    train[1][3] = train[0][3]
    write_tsv(source, rows)
    _, report = check("bukva/original", source, out)
    ((first, second),) = report["copies"]["within_split"] + report["copies"]["across_splits"]
    assert {first["id"], second["id"]} == {train[0][0], train[1][0]}


def test_find_shared_signers_lists_their_splits(source, out, mp4):
    listed = lsa64.listed("random_80_20")
    for number, name in enumerate(list(listed)[-50:]):
        put(source, [f"{name}.mp4"], unlike(mp4, number))
    _, report = check("lsa64/random_80_20", source, out, "--max_missing", "0.99")
    splits_of = {}
    for name in list(listed)[-50:]:
        splits_of.setdefault(name.split("_")[1], set()).add(listed[name])
    shared = {signer: splits for signer, splits in splits_of.items() if len(splits) > 1}
    assert {signer: set(splits) for signer, splits in report["shared_signers"].items()} == shared
    assert shared
    assert any(f"{len(shared)} signers in several" in t for t in texts(report, "note"))


def test_count_labels_and_properties(source, out, mp4):
    put_listed(source, ROWS, mp4)
    write_clip(source / "a.mp4", barcoded_frames(1, 48, 64), fps=30)
    write_clip(source / "e.mp4", barcoded_frames(5, 48, 64), codec="mpeg4", fps=50, rotation=90)
    _, report = check("recordings", source, out)
    none = dict.fromkeys(SPLITS, 0)
    assert report["labels"] == {
        "bye": {"train": 1, "validation": 0, "test": 1},
        "hi": {"train": 2, "validation": 1, "test": 1},
    }
    assert report["splits"]["validation"]["absent_labels"] == ["bye"]
    assert "validation: 1 of 2 labels without a clip." in texts(report, "note")
    assert report["splits"]["train"]["one_frame"] == ["a.mp4"]
    assert "train: 1 clip of a single frame." in texts(report, "warning")
    usual = {"train": 2, "validation": 1, "test": 1}
    one_train, one_test = {**none, "train": 1}, {**none, "test": 1}
    assert list(report["properties"]["frames"].items()) == [
        ("1", one_train),
        ("5", one_test),
        ("8", usual),
    ]
    assert report["properties"]["codecs"] == {"h264": {**usual, "train": 3}, "mpeg4": one_test}
    assert report["properties"]["sizes"] == {"64x48": {**usual, "train": 3}, "48x64": one_test}
    assert report["properties"]["fps"] == {"25": usual, "30": one_train, "50": one_test}
    assert report["properties"]["rotations"] == {"0": {**usual, "train": 3}, "90": one_test}
