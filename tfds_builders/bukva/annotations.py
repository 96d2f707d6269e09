"""Bukva's `annotations.tsv`."""

import csv
import dataclasses
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from tfds_builders.sources import SourceError

NAME = "annotations.tsv"
COLUMNS = ("attachment_id", "user_id", "text", "begin", "end", "train")
IS_TRAIN = {"true": True, "1": True, "false": False, "0": False}


@dataclasses.dataclass(frozen=True)
class Annotation:
    """A listed clip.

    Attributes:
        id: Stem of its file.
        user: The signer.
        letter: The sign's label.
        segment: First and last frame of the sign in the uncut recording.
        train: Whether it is in the official training split, else in the test split.
    """

    id: str
    user: str
    letter: str
    segment: tuple[int, int]
    train: bool


def read(folder: Path, files: Sequence[Path], letters: Collection[str]) -> list[Annotation]:
    """Read the only annotations among a folder's files.

    Args:
        folder: Folder of the unpacked archive.
        files: All files below it.
        letters: Valid labels.

    Raises:
        SourceError: There is not exactly one such file, or its content is wrong.
    """
    tables = [file for file in files if file.name.lower() == NAME]
    if len(tables) != 1:
        problems = [file.relative_to(folder).as_posix() for file in tables] or ["none found"]
        raise SourceError(str(folder), problems, f"Expected one {NAME}.")
    header, *table = _table(tables[0])
    rows, problems, lines = [], [], defaultdict(list)
    for line, fields in enumerate(table, start=2):
        if not any(fields):
            continue
        values = _values(header, fields)
        found = list(_problems(values, letters)) if values else [_wrong_length(header, fields)]
        problems += [f"line {line}: {problem}" for problem in found]
        if not found:
            rows.append(_annotation(values))
            lines[rows[-1].id].append(line)
    problems += [f"lines {n}: the same attachment_id" for n in lines.values() if len(n) > 1]
    if problems:
        raise SourceError(str(tables[0]), problems)
    return rows


def _table(path: Path) -> list[list[str]]:
    """Lines of stripped fields; the first one is the header, which has all of COLUMNS."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter="\t")
            table = [[field.strip() for field in fields] for fields in lines]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(str(path), [f"not a table in UTF-8: {error}"]) from error
    header = table[0] if table else []
    if absent := [f"no column {name!r}" for name in COLUMNS if name not in header]:
        advice = f"Expected columns, separated by tabs: {', '.join(COLUMNS)}."
        raise SourceError(str(path), absent, advice)
    return table


def _values(header: list[str], fields: list[str]) -> dict[str, str]:
    """Values by column; empty if their number is wrong.

    The first column, row numbers, may have no name in the header.
    """
    if len(fields) not in (len(header), len(header) + 1):
        return {}
    return dict(zip(reversed(header), reversed(fields), strict=False))


def _wrong_length(header: list[str], fields: list[str]) -> str:
    return f"expected {len(header)} fields, found {len(fields)}"


def _problems(values: Mapping[str, str], letters: Collection[str]) -> Iterator[str]:
    if absent := [name for name in COLUMNS if not values[name]]:
        yield f"no {', '.join(absent)}"
        return
    letter = _letter(values)
    if letter not in letters:
        names = " + ".join(unicodedata.name(character, "?") for character in letter)
        yield f"expected one of the 33 letters, found {letter!r} ({names})"
    if values["train"].lower() not in IS_TRAIN:
        yield f"expected True or False in train, found {values['train']!r}"
    begin, end = values["begin"], values["end"]
    if not (begin.isdecimal() and end.isdecimal() and int(begin) <= int(end)):
        yield f"expected begin <= end, in frames, found {begin!r} and {end!r}"


def _annotation(values: Mapping[str, str]) -> Annotation:
    return Annotation(
        id=values["attachment_id"],
        user=values["user_id"],
        letter=_letter(values),
        segment=(int(values["begin"]), int(values["end"])),
        train=IS_TRAIN[values["train"].lower()],
    )


def _letter(values: Mapping[str, str]) -> str:
    return unicodedata.normalize("NFC", values["text"])
