"""Statistics of real clips."""

import shutil
from fractions import Fraction
from pathlib import Path

import av

from tests.helpers.checks import ROWS, check, texts
from tests.helpers.clips import barcoded_frames, write_clip
from tests.helpers.dataset_trees import bukva_rows, put, put_listed, unlike, write_tsv
from tfds_builders.listing import SPLITS
from tfds_builders.lsa64 import index as lsa64

FIELDS = Path(__file__).parents[2] / "data/video/files/field_pictures.mp4"


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


def square_pixels_twice_as_wide(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for pixels in barcoded_frames(4, 48, 64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def test_count_properties_counts_and_notes_unusual_ones(source, out, mp4):
    put_listed(source, ROWS, mp4)
    _, report = check("recordings", source, out)
    properties, before = report["properties"], texts(report, "note")
    assert list(properties["pixel_aspects"]) == ["1:1"]
    assert list(properties["scans"]) == ["progressive"]
    square_pixels_twice_as_wide(source / "a.mp4")
    shutil.copy(FIELDS, source / "b.mp4")  # two fields a frame
    options = {"x264-params": "colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"}
    hdr = {"pix_fmt": "yuv420p10le", "options": options}
    write_clip(source / "d.mp4", barcoded_frames(4, 48, 64), **hdr)
    write_clip(source / "e.ts", barcoded_frames(40, 48, 64), options={"g": "20", "bf": "0"})
    data = (source / "e.ts").read_bytes()
    (source / "e.mp4").write_bytes(data[188 * (len(data) // 188 // 4) :])
    _, report = check("recordings", source, out)
    properties = report["properties"]
    assert properties["pixel_aspects"]["2:1"] == {"train": 1, "validation": 0, "test": 0}
    assert properties["scans"]["interlaced"] == {"train": 1, "validation": 0, "test": 0}
    assert properties["dynamic_ranges"]["HLG"] == {"train": 0, "validation": 1, "test": 0}
    (lost,) = set(properties["lost_pictures"]) - {"0"}
    assert properties["lost_pictures"][lost] == {"train": 0, "validation": 0, "test": 1}
    assert set(properties["streams"]) == set(properties["frame_sizes"]) == {"1"}
    notes = sorted(set(texts(report, "note")) - set(before))
    assert [note.split(": ")[0] for note in notes] == ["1 clip"] * 4
    page = next(out.glob("*.html")).read_text("utf-8")
    for title in ("Pixel aspect ratio", "Dynamic range", "Scan", "Pictures lost at the start"):
        assert title in page
    assert "Video streams" not in page
