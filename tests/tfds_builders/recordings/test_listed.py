"""Recordings that a CSV lists."""

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
d.mp4,hi,anna,dev
,hi,anna,train
d.mp4,hi,anna
"e.mp4","h
i",anna,train
""",
    [
        "line 3: no such file: gone.mp4",
        "line 4: no label",
        "line 5: same path as line 2: a.mp4",
        "line 6: path leaves the CSV's folder: ../up.mp4",
        "line 7: path leaves the CSV's folder: /etc/passwd",
        "line 8: path leaves the CSV's folder: C:\\x.mp4",
        "line 9: no signer; give it in all rows or in none",
        "line 9: same path as line 4: b.mp4",
        "line 10: no split; give it in all rows or in none",
        "line 11: unknown split 'dev'; valid: train, validation, val, test",
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
