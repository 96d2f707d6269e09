"""Tables of recordings, in the dialects that spreadsheets and programs write."""

import itertools

import pytest

from dstadapter_jax.errors import UserError
from tests.helpers.errors import raises
from tfds_builders.recordings.table import find_tables, read_table
from tfds_builders.sources import SourceError

ROWS = [("a.mp4", "grüß", "ann"), ("b c.mp4", "手語", "ben"), ("d.mp4", "x, y; z", "cem")]


def fields(table):
    return [(row.path, row.label, row.signer) for row in table.rows]


def quoted(value, delimiter, always):
    return f'"{value}"' if always or delimiter in value else value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_read_table_of_any_dialect(source, encoding, delimiter):
    for line_end, always, trailing, header in itertools.product(
        ("\n", "\r\n", "\r"),
        (False, True),
        ("", delimiter),
        (["path", "label", "signer"], ["File Name", "GLOSS", "Signer_ID"]),
    ):
        lines = [
            delimiter.join(quoted(value, delimiter, always) for value in row) + trailing
            for row in (header, *ROWS)
        ]
        lines.insert(2, "")
        text = line_end.join(lines) + line_end
        (source / "list.csv").write_bytes(text.encode(encoding))
        assert fields(read_table(source / "list.csv")) == ROWS


def test_read_table_rows_may_lack_last_cells_of_unknown_columns_only(source):
    text = "path,label,note,\na.mp4,hi\nb.mp4,hi,x\nc.mp4\nd.mp4,hi,x,,,\ne.mp4,hi,x,,y\n"
    (source / "list.csv").write_text(text)
    table = read_table(source / "list.csv")
    assert [row.path for row in table.rows] == ["a.mp4", "b.mp4", "d.mp4"]
    assert [line for line, _ in table.problems] == [4, 6]


def test_read_table_with_excels_separator_line(source):
    (source / "list.csv").write_bytes(b"sep=;\r\npath;label\r\na.mp4;hi\r\n")
    table = read_table(source / "list.csv")
    assert [(row.line, row.path) for row in table.rows] == [(3, "a.mp4")]


@pytest.mark.parametrize("before", ["\n", "\r\n \r\n", ";;\n", "\nsep=;\n", "\r\r"])
def test_read_table_passes_over_blank_lines_before_the_header(source, before):
    text = before + "path;label\na.mp4;hi\n"
    (source / "list.csv").write_bytes(text.encode())
    (source / "list.txt").write_bytes(text.encode())
    table = read_table(source / "list.csv")
    line = 2 + len(before.replace("\r\n", "\n").replace("\r", "\n").split("\n")) - 1
    assert [(row.line, row.path, row.label) for row in table.rows] == [(line, "a.mp4", "hi")]
    assert [path.name for path in find_tables(source)] == ["list.csv", "list.txt"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_read_table_of_a_named_encoding_may_have_a_byte_order_mark(source, encoding):
    (source / "list.csv").write_bytes("\ufeffpath,label\na.mp4,é\n".encode(encoding))
    assert read_table(source / "list.csv", encoding).rows[0].label == "é"


def test_read_table_leaves_out_unknown_columns_with_a_warning(source):
    (source / "list.csv").write_text(",path,label,hand,Unnamed: 4\n0,a.mp4,hi,left,\n")
    table = read_table(source / "list.csv")
    assert [(row.path, row.label) for row in table.rows] == [("a.mp4", "hi")]
    (warning,) = table.warnings
    assert "3 column(s) left out: without a name, hand, Unnamed: 4" in warning


def test_read_table_of_another_encoding_raises_unless_named(source):
    (source / "list.csv").write_bytes("path,label\na.mp4,grüß\n".encode("cp1252"))
    with raises(SourceError, where="list.csv", problem="not utf-8", advice="--encoding"):
        read_table(source / "list.csv")
    assert read_table(source / "list.csv", "cp1252").rows[0].label == "grüß"


@pytest.mark.parametrize("encoding", ["klingon", "hex", "rot13", "idna", "\0", "ü"])
@pytest.mark.parametrize("name", ["list.csv", "list.txt"])
def test_find_tables_of_an_unknown_encoding_raises(source, encoding, name):
    (source / name).write_text("path;label\n")
    with raises(UserError, where="--encoding", found=repr(encoding)):
        find_tables(source, encoding)
    with raises(UserError, where="--encoding"):
        read_table(source / name, encoding)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("path,path,clas\n", ["no column 'label'", "several columns for 'path': path, path"]),
        ("path,file,label\n", ["several columns for 'path': path, file"]),
        ('path,label\n"a.mp4"x,hi\n', ["line 2: ',' expected after '\"'"]),
        ("", ["no column 'path'", "no column 'label'"]),
    ],
)
def test_read_table_of_a_wrong_table_raises(source, text, problems):
    (source / "list.csv").write_text(text)
    with raises(SourceError, where="list.csv") as caught:
        read_table(source / "list.csv")
    assert caught.value.problems == problems


def test_find_tables_takes_texts_that_list_recordings(source):
    for name, text in {
        "a.CSV": "anything",
        "b.tsv": "path\tlabel\n",
        "c.txt": "These are my recordings.\n",
        "d.txt": "Path;Label\n",
    }.items():
        (source / name).write_text(text)
    assert [path.name for path in find_tables(source)] == ["a.CSV", "b.tsv", "d.txt"]
