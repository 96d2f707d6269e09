"""Recordings that a CSV lists."""

import pytest

from tests.helpers.dataset_trees import put
from tests.helpers.errors import raises
from tfds_builders.recordings.listed import read_listed
from tfds_builders.sources import SourceError

WRONG_ROWS, PROBLEMS = (
    """path,label,signer,split
a.mp4,hi,anna,train
gone.mp4,hi,anna,train
b.mp4,,anna,train
./a.mp4,hi,anna,train
../up.mp4,hi,anna,train
/etc/passwd,hi,anna,train
C:\\x.mp4,hi,anna,train
b.mp4,hi,,train
c.mp4,hi,anna,
d.mp4,hi,anna,no
,hi,anna,train
d.mp4,hi,anna
"e.mp4","h
i",anna,train
""",
    [
        "line 4: no label",
        "line 5: same clip as line 2: a.mp4",
        "line 6: path leaves the table's folder: ../up.mp4",
        "line 7: path leaves the table's folder: /etc/passwd",
        "line 8: path leaves the table's folder: C:\\x.mp4",
        "line 9: no signer; give it in all rows or in none",
        "line 10: no split; give it in all rows or in none",
        "line 11: unknown split 'no'; valid: train, training, validation, val, valid, dev, "
        "development, test, testing, eval, evaluation",
        "line 12: no path",
        "line 13: expected 4 fields, found 3",
        "line 15: 'h\\ni': line break in the name",
    ],
)


def test_read_listed_with_wrong_rows_lists_all_problems(source):
    put(source, ["a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4"])
    (source / "list.csv").write_text(WRONG_ROWS)
    (source.parent / "up.mp4").touch()
    with raises(SourceError, where="list.csv") as caught:
        read_listed(source / "list.csv")
    assert caught.value.problems == PROBLEMS


def test_read_listed_composes_names_of_signers(source, out, mp4):
    put(source, [f"{i}.mp4" for i in range(8)], mp4)
    names = ["Jose\u0301", "Jos\u00e9", "Anna", "Ben"]
    rows = [f"{i}.mp4,{'ab'[i // 4]},{names[i % 4]}" for i in range(8)]
    (source / "list.csv").write_text("\n".join(["path,label,signer", *rows]), encoding="utf-8")
    signers = {clip.signer for clip in read_listed(source / "list.csv").clips}
    assert signers == {"Anna", "Ben", "Jos\u00e9"}


def listed(source, text, names=("a.mp4", "b/c.mp4"), **options):
    put(source, names, b"a video")
    content = text if isinstance(text, bytes) else text.encode()
    (source / "list.csv").write_bytes(content)
    return read_listed(source / "list.csv", **options)


def test_read_listed_missing_files_are_named_with_the_nearest(source):
    found = listed(source, "path,label\na.mp4,hi\nb/cc.mp4,hi\nzzz.mkv,bye\n")
    assert [clip.id for clip in found.clips] == ["a.mp4"]
    reasons = {clip.id: clip.reason for clip in found.missing}
    assert reasons["b/cc.mp4"] == "line 3: no such file: b/cc.mp4; the nearest is b/c.mp4"
    assert reasons["zzz.mkv"].startswith("line 4: no such file: zzz.mkv")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("b\\c.mp4", "b/c.mp4"),
        ("B/C.MP4", "b/c.mp4"),
        ("./b/./c.mp4", "b/c.mp4"),
        ("b/c", "b/c.mp4"),
        ("b/c.avi", "b/c.mp4"),
        ("cafe\u0301.mp4", "caf\u00e9.mp4"),
        ("caf\u00e9.mp4", "cafe\u0301.mp4"),
    ],
)
def test_read_listed_finds_a_path_of_another_spelling(source, written, name):
    found = listed(source, f"path,label\n{written},hi\n", [name])
    assert [(clip.id, clip.path) for clip in found.clips] == [(name, source / name)]


def test_read_listed_absolute_path_inside_the_folder_is_found(source):
    found = listed(source, f"path,label\n{source}/b/c.mp4,hi\n")
    assert [clip.id for clip in found.clips] == ["b/c.mp4"]


def test_read_listed_path_that_fits_two_files_is_missing(source):
    found = listed(source, "path,label\nx.avi,hi\n", ["x.mp4", "X.mov"])
    (missing,) = found.missing
    assert "several are alike: X.mov, x.mp4" in missing.reason


@pytest.mark.parametrize(
    ("columns", "values", "clip_id", "segment", "seconds"),
    [
        ("start,end", "1.5,3", "a.mp4#1.5-3s", None, (1.5, 3.0)),
        ("start,end", "0:01.5,1:00:03", "a.mp4#0:01.5-1:00:03s", None, (1.5, 3603.0)),
        ("start,end", ",2", "a.mp4#0-2s", None, (0.0, 2.0)),
        ("start,end", "2,", "a.mp4#2-s", None, (2.0, None)),
        ("start,end", ",", "a.mp4", None, None),
        ("Start Frame,end_frame", "3,9", "a.mp4#3-9", (3, 8), None),
        ("start_frame,end_frame", "3,", "a.mp4#3-", (3, None), None),
    ],
)
def test_read_listed_segments(source, columns, values, clip_id, segment, seconds):
    (clip,) = listed(source, f"path,label,{columns}\na.mp4,hi,{values}\n").clips
    assert (clip.id, clip.segment, clip.seconds) == (clip_id, segment, seconds)


@pytest.mark.parametrize(
    ("columns", "values", "problem"),
    [
        ("start,end", "3,2", "not after its start"),
        ("start,end", "2,2", "not after its start"),
        ("start,end", "-1,2", "'-1': expected seconds"),
        ("start,end", "x,2", "'x': expected seconds"),
        ("start_frame,end_frame", "1.5,2", "'1.5': expected a frame number"),
        ("start,end,start_frame,end_frame", "1,2,3,4", "both seconds and frames"),
    ],
)
def test_read_listed_wrong_segments_name_the_line(source, columns, values, problem):
    with raises(SourceError, problem=("line 2", problem)):
        listed(source, f"path,label,{columns}\na.mp4,hi,{values}\n")


def test_read_listed_same_segment_twice_raises(source):
    text = "path,label,start,end\na.mp4,hi,1,2\na.mp4,bye,1,2\na.mp4,hi,1.5,3\n"
    with raises(SourceError, problem="line 3: same clip as line 2"):
        listed(source, text)


@pytest.mark.parametrize(
    ("columns", "segments", "overlapping"),
    [
        ("start,end", ["0,2", "2,3", "3,"], ""),
        ("start,end", ["0,2", "1.9,3"], "a.mp4#0-2s and a.mp4#1.9-3s"),
        ("start,end", ["2,", "0:05,0:06"], "a.mp4#2-s and a.mp4#0:05-0:06s"),
        ("start_frame,end_frame", ["0,5", "5,9"], ""),
        ("start_frame,end_frame", ["0,6", "5,9"], "a.mp4#0-6 and a.mp4#5-9"),
        ("start_frame,end_frame", ["0,50", "5,9", "30,40"], "2 segment(s) overlap"),
    ],
)
def test_read_listed_says_which_segments_overlap(source, columns, segments, overlapping):
    rows = [f"a.mp4,hi,{segment}" for segment in segments]
    found = listed(source, "\n".join([f"path,label,{columns}", *rows, "b/c.mp4,hi,0,9"]))
    assert len(found.clips) == len(segments) + 1
    assert [overlapping in warning for warning in found.warnings] == [True] * bool(overlapping)


def test_read_listed_folder_beside_a_file_of_that_stem_is_the_file(source):
    put(source, ["b.mp4"], b"a video")
    found = listed(source, "path,label\nb,hi\n")
    assert [clip.id for clip in found.clips] == ["b.mp4"]


def test_read_listed_folder_without_pictures_is_missing(source):
    (missing,) = listed(source, "path,label\nb,hi\n").missing
    assert missing.reason.startswith("line 2: not a file: b")


def test_read_listed_takes_no_part_of_a_name_for_a_suffix(source):
    found = listed(source, "path,label\nhi.2,hi\nbye.v2,bye\n", ["hi.mp4", "bye.v2.mp4"])
    assert [clip.id for clip in found.clips] == ["bye.v2.mp4"]
    assert [clip.id for clip in found.missing] == ["hi.2"]
