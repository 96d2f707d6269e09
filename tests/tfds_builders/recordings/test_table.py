"""CSV files of recordings."""

import pytest

from tests.helpers.errors import raises
from tfds_builders.recordings.table import read_rows
from tfds_builders.sources import SourceError


def test_read_rows_of_another_encoding_raises(source):
    (source / "list.csv").write_bytes("path,label\na.mp4,grüß\n".encode("latin-1"))
    with raises(SourceError, where="list.csv", problem="not UTF-8"):
        read_rows(source / "list.csv")


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "path,path,clas\n",
            ["unknown column 'clas'", "no column 'label'", "column 'path' twice"],
        ),
        ('path,label\n"a.mp4"x,hi\n', ["line 2: ',' expected after '\"'"]),
        ("", ["no column 'path'", "no column 'label'"]),
    ],
)
def test_read_rows_of_a_wrong_table_raises(source, text, problems):
    (source / "list.csv").write_text(text)
    with raises(SourceError, where="list.csv") as caught:
        read_rows(source / "list.csv")
    assert caught.value.problems == problems
