"""Reads what a user's recordings are: from a CSV, or from a folder `LABEL/clip.mp4`."""

import csv
import dataclasses
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from dstadapter_jax.data.video.container import VIDEO_SUFFIXES
from tfds_builders.archives import unpack_hint
from tfds_builders.clip_examples import Clip
from tfds_builders.sources import SourceError, files_below, is_shown

COLUMNS = ("path", "label", "signer", "split")
REQUIRED_COLUMNS = COLUMNS[:2]
SPLIT_NAMES = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "test": "test",
}


@dataclasses.dataclass(frozen=True)
class Recordings:
    """The clips, sorted by id (their path, relative to the folder).

    Attributes:
      clips: every clip.
      split_of: clip id to `train`, `validation` or `test`; empty if the user doesn't say.
      ignored: paths of the files that aren't videos.
    """

    clips: list[Clip]
    split_of: dict[str, str] = dataclasses.field(default_factory=dict)
    ignored: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Row:
    line: int
    path: str
    label: str
    signer: str = ""
    split: str = ""


def find(folder: Path) -> Path:
    """The folder that holds the recordings: `folder`, or the only one in it, or one above.

    Down, if all else that lies there is no recording: an archive's own folder. Up, if `folder`
    holds the videos that a CSV above it lists. The folder above is not walked: only its CSV tells.
    """
    entries = [path for path in sorted(folder.iterdir()) if is_shown(path.name)]
    below = [path for path in entries if path.is_dir()]
    videos = [path for path in entries if path.suffix.lower() in VIDEO_SUFFIXES]
    if _tables(folder):
        return folder
    if len(below) == 1 and not videos:
        inside = [path for path in below[0].iterdir() if is_shown(path.name)]
        is_label = any(path.suffix.lower() in VIDEO_SUFFIXES for path in inside)
        has_labels = any(path.is_dir() for path in inside) and not is_label
        return below[0] if _tables(below[0]) or has_labels else folder
    above = Path(os.path.abspath(folder)).parent
    return above if videos and any(map(_lists_recordings, _tables(above))) else folder


def _tables(folder: Path) -> list[Path]:
    """The CSVs at the top of a folder; none if it can't be looked into."""
    try:
        paths = [path for path in folder.iterdir() if path.is_file() and is_shown(path.name)]
    except OSError:
        return []
    return sorted(path for path in paths if path.suffix.lower() == ".csv")


def _lists_recordings(table: Path) -> bool:
    """Whether a CSV's first line names the columns that are needed."""
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = [name.strip() for name in file.readline(1000).split(",")]
    return set(REQUIRED_COLUMNS) <= set(header)


def read(folder: Path) -> Recordings:
    """Reads the recordings in `folder`: its CSV if it has one at its top, else its subfolders.

    Raises:
      SourceError: something is wrong with them; the message lists every problem.
    """
    tables = _tables(folder)
    if len(tables) > 1:
        raise SourceError(
            str(folder), [p.name for p in tables], "Expected one CSV at most: remove the others."
        )
    recordings = read_csv(tables[0]) if tables else read_folder(folder)
    if not recordings.clips:
        raise SourceError(
            str(tables[0] if tables else folder),
            ["no clips found"],
            "Expected videos as LABEL/clip.mp4, or a CSV with the columns "
            f"path,label[,signer][,split].\n{unpack_hint(files_below(folder), where='')}".rstrip(),
        )
    return recordings


def read_folder(folder: Path) -> Recordings:
    """Reads `LABEL/**/clip.mp4`. Hidden files are passed over; signers stay unknown."""
    clips, ignored, problems = [], [], []
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        label = _name(name.split("/")[0])
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            ignored.append(name)
        elif path.parent == folder:
            problems.append(f"{name}: not in a folder named as its label")
        elif problem := _unstorable(label) or _unstorable(name):
            problems.append(f"{name!r}: {problem}")
        elif not label:
            problems.append(f"{name!r}: the folder's name, its label, is blank")
        else:
            clips.append(Clip(name, path, label))
    if problems:
        advice = "Expected LABEL/clip.mp4."
        if not clips:
            advice += " If this folder is one label's, give the one that it lies in."
        raise SourceError(str(folder), problems, advice)
    if len(labels := {clip.label for clip in clips}) == 1:
        problem = f"one label for all {len(clips)} clips: {labels.pop()}"
        advice = "Expected several. If their folders lie deeper, give the one that they lie in."
        raise SourceError(str(folder), [problem], advice)
    return Recordings(sorted(clips, key=lambda clip: clip.id), ignored=sorted(ignored))


def read_csv(table: Path) -> Recordings:
    """Reads a UTF-8 CSV with a header and the columns `path,label[,signer][,split]`.

    Paths are relative to the CSV's folder and stay inside it. `signer` and `split` are given for
    all rows or for none.
    """
    problems: list[tuple[int, str]] = []
    rows = _rows(table, problems)
    for row in rows:
        problems += [(row.line, problem) for problem in _row_problems(row, table.parent)]
    problems += _duplicates(rows) + _blanks(rows, "signer") + _blanks(rows, "split")
    if problems:
        raise SourceError(str(table), [f"line {n}: {text}" for n, text in sorted(problems)])
    rows.sort(key=lambda row: _id(row.path))
    return Recordings(
        [
            Clip(_id(row.path), table.parent / row.path, _name(row.label), _name(row.signer))
            for row in rows
        ],
        {_id(row.path): SPLIT_NAMES[row.split] for row in rows if row.split},
    )


def _rows(table: Path, problems: list[tuple[int, str]]) -> list[_Row]:
    rows = []
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(table, header)
            for fields in reader:
                values = [field.strip() for field in fields]
                if not any(values):
                    continue
                if len(values) == len(header):
                    rows.append(_Row(reader.line_num, **dict(zip(header, values, strict=True))))
                else:
                    text = f"{len(values)} fields, {len(header)} expected"
                    problems.append((reader.line_num, text))
    except UnicodeDecodeError as error:
        raise SourceError(str(table), [f"not UTF-8: {error}"], "Save it as UTF-8.") from error
    except csv.Error as error:
        raise SourceError(str(table), [f"line {reader.line_num}: {error}"]) from error
    return rows


def _check_header(table: Path, header: list[str]) -> None:
    problems = [f"unknown column {name!r}" for name in header if name not in COLUMNS]
    problems += [f"no column {name!r}" for name in REQUIRED_COLUMNS if name not in header]
    problems += [f"column {name!r} twice" for name in COLUMNS if header.count(name) > 1]
    if problems:
        advice = f"The first line names the columns, with commas between: {','.join(COLUMNS)}"
        raise SourceError(str(table), problems, f"{advice} (the last two may be left out).")


def _row_problems(row: _Row, folder: Path) -> Iterator[str]:
    if not row.label:
        yield "no label"
    for value in (row.label, row.path, row.signer):
        if problem := _unstorable(value):
            yield f"{value!r}: {problem}"
    if not row.path:
        yield "no path"
    elif _leaves_folder(row.path):
        yield f"path leaves the CSV's folder: {row.path}"
    # Not Path.is_file, which raises on a name that is too long.
    elif not os.path.isfile(folder / row.path):
        yield f"no such file: {row.path}"
    if row.split and row.split not in SPLIT_NAMES:
        yield f"unknown split {row.split!r}; valid: {', '.join(SPLIT_NAMES)}"


def _leaves_folder(path: str) -> bool:
    kinds = PurePosixPath(path), PureWindowsPath(path)
    return any(kind.anchor or ".." in kind.parts for kind in kinds)


def _name(name: str) -> str:
    """Without the spaces around it, and with one way to write é: names are told apart by code."""
    return unicodedata.normalize("NFC", name.strip())


def _unstorable(name: str) -> str:
    """Why a name can't be stored: label names are kept as lines of a UTF-8 text file."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "the name isn't UTF-8"
    return "line break in the name" if len(name.splitlines()) > 1 else ""


def _duplicates(rows: list[_Row]) -> list[tuple[int, str]]:
    lines = defaultdict(list)
    for row in rows:
        if row.path:
            lines[_id(row.path)].append(row.line)
    return [
        (line, f"same path as line {first}: {path}")
        for path, (first, *others) in lines.items()
        for line in others
    ]


def _blanks(rows: list[_Row], column: str) -> list[tuple[int, str]]:
    blank = [row.line for row in rows if not getattr(row, column)]
    if len(blank) == len(rows):
        return []
    return [(line, f"no {column}; give it in every row or in none") for line in blank]


def _id(path: str) -> str:
    return PurePosixPath(path).as_posix()
