"""Bukva's `annotations.tsv`."""

import unicodedata
from collections import Counter
from types import MappingProxyType

import pytest

from tests.helpers.dataset_trees import (
    COLUMNS,
    LETTERS,
    bukva_rows,
    put,
    write_tsv,
)
from tests.helpers.errors import raises
from tfds_builders.bukva import index as bukva
from tfds_builders.listing import SPLITS
from tfds_builders.sources import SourceError


def read_bukva(folder, variant="trimmed", names=(), num_clips=MappingProxyType({})):
    files = [folder / "annotations.tsv", *(folder / name for name in names)]
    return bukva.read(folder, files, variant, num_clips)


@pytest.mark.parametrize("form", ["named index", "unnamed index", "no header of index", "0 and 1"])
def test_read_table_with_row_numbers_or_digits(tmp_path, form):
    rows, header = bukva_rows(), COLUMNS
    if "index" in form:
        rows = [[str(i), *row] for i, row in enumerate(rows)]
        header = [*{"named index": ["Unnamed: 0"], "unnamed index": [""]}.get(form, []), *COLUMNS]
    else:
        rows = [[{"True": "1", "False": "0"}.get(value, value) for value in row] for row in rows]
    write_tsv(tmp_path, rows, header)
    listing = read_bukva(tmp_path)
    assert [len(listing.missing[split]) for split in SPLITS] == [14 * 33, 2 * 33, 4 * 33]


def test_read_composes_letters(tmp_path):
    rows = bukva_rows()
    for row in rows:
        row[2] = f" {unicodedata.normalize('NFD', row[2])} "
    assert sum(len(row[2]) == 4 for row in rows) == 2 * 20
    write_tsv(tmp_path, rows)
    listing = read_bukva(tmp_path, names=[f"trimmed/{row[0]}" for row in rows])
    found = Counter(clip.label for clip in listing.found["train"])
    assert found == dict.fromkeys(LETTERS, 14)


def test_read_wrong_rows_lists_all_problems(tmp_path):
    rows = bukva_rows()
    rows[0][2], rows[1][2], rows[2][7] = "A", "no", "yes"  # the A is Latin
    rows[3][3:5], rows[4][3], rows[5][0] = ["6", "5"], "-1", "id-0-6"
    rows[7][1], rows[8] = "", rows[8][:4]
    write_tsv(tmp_path, rows)
    with pytest.raises(SourceError) as caught:
        read_bukva(tmp_path)
    assert caught.value.problems == [
        "line 2: expected one of the 33 letters, found 'A' (LATIN CAPITAL LETTER A)",
        "line 3: expected one of the 33 letters, found 'no' "
        "(LATIN SMALL LETTER N + LATIN SMALL LETTER O)",
        "line 4: expected True or False in train, found 'yes'",
        "line 5: expected begin <= end, in frames, found '6' and '5'",
        "line 6: expected begin <= end, in frames, found '-1' and '5'",
        "line 9: no user_id",
        "line 10: expected 9 fields, found 4",
        "lines [7, 8]: the same attachment_id",
    ]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([], "none found"),
        (["annotations.tsv", "old/annotations.tsv"], "old/annotations.tsv"),
    ],
)
def test_read_without_exactly_one_table_raises(tmp_path, tables, message):
    put(tmp_path, tables)
    with raises(SourceError, problem=message):
        bukva.read(tmp_path, [tmp_path / table for table in tables], "trimmed", {})


def test_read_without_a_column_raises(tmp_path):
    write_tsv(tmp_path, [row[:-2] for row in bukva_rows()], COLUMNS[:-2])
    with raises(SourceError, problem="no column 'train'"):
        read_bukva(tmp_path)
