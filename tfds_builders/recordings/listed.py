"""Recordings that a CSV lists, with labels and optionally signers and splits."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from tfds_builders.clip_examples import Clip
from tfds_builders.recordings.contents import Recordings, clean_name, name_problem
from tfds_builders.recordings.table import Problems, Row, read_rows
from tfds_builders.sources import SourceError

SPLIT_NAMES = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "test": "test",
}


def read_listed(table: Path) -> Recordings:
    """Read the recordings that a CSV lists.

    Paths are relative to the CSV's folder and stay inside it. `signer` and `split` are given in
    all rows or in none.

    Raises:
        SourceError: The CSV is wrong, or a listed file does not exist.
    """
    rows, problems = read_rows(table)
    for row in rows:
        problems += [(row.line, problem) for problem in _row_problems(row, table.parent)]
    problems += _duplicates(rows) + _blanks(rows, "signer") + _blanks(rows, "split")
    if problems:
        raise SourceError(str(table), [f"line {n}: {text}" for n, text in sorted(problems)])
    rows.sort(key=lambda row: _id(row.path))
    return Recordings(
        [_clip(row, table.parent) for row in rows],
        {_id(row.path): SPLIT_NAMES[row.split] for row in rows if row.split},
    )


def _clip(row: Row, folder: Path) -> Clip:
    label, signer = clean_name(row.label), clean_name(row.signer)
    return Clip(_id(row.path), folder / row.path, label, signer)


def _row_problems(row: Row, folder: Path) -> Iterator[str]:
    if not row.label:
        yield "no label"
    for value in (row.label, row.path, row.signer):
        if problem := name_problem(value):
            yield f"{value!r}: {problem}"
    if not row.path:
        yield "no path"
    elif _leaves_folder(row.path):
        yield f"path leaves the CSV's folder: {row.path}"
    # `Path.is_file` raises an error if a name is too long.
    elif not os.path.isfile(folder / row.path):
        yield f"no such file: {row.path}"
    if row.split and row.split not in SPLIT_NAMES:
        yield f"unknown split {row.split!r}; valid: {', '.join(SPLIT_NAMES)}"


def _leaves_folder(path: str) -> bool:
    kinds = PurePosixPath(path), PureWindowsPath(path)
    return any(kind.anchor or ".." in kind.parts for kind in kinds)


def _duplicates(rows: Sequence[Row]) -> Problems:
    lines = defaultdict(list)
    for row in rows:
        if row.path:
            lines[_id(row.path)].append(row.line)
    return [
        (line, f"same path as line {first}: {path}")
        for path, (first, *others) in lines.items()
        for line in others
    ]


def _blanks(rows: Sequence[Row], column: str) -> Problems:
    blank = [row.line for row in rows if not getattr(row, column)]
    if len(blank) == len(rows):
        return []
    return [(line, f"no {column}; give it in all rows or in none") for line in blank]


def _id(path: str) -> str:
    return PurePosixPath(path).as_posix()
