"""CSV files of recordings: columns, encoding and rows."""

import csv
import dataclasses
from pathlib import Path

from tfds_builders.recordings.folders import visible
from tfds_builders.sources import SourceError

COLUMNS = ("path", "label", "signer", "split")
REQUIRED_COLUMNS = COLUMNS[:2]
EXPECTED = f"The first line names the columns, with commas between: {','.join(COLUMNS)}"

Problems = list[tuple[int, str]]  # line number and problem


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the CSV; `line` is that of its last field."""

    line: int
    path: str
    label: str
    signer: str = ""
    split: str = ""


def find_tables(folder: Path) -> list[Path]:
    """The CSV files directly in a folder; empty if it can't be listed."""
    return [path for path in visible(folder) if path.suffix.lower() == ".csv" and path.is_file()]


def lists_recordings(table: Path) -> bool:
    """Whether the first line of a CSV names the required columns."""
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = [name.strip() for name in file.readline(1000).split(",")]
    return set(REQUIRED_COLUMNS) <= set(header)


def read_rows(table: Path) -> tuple[list[Row], Problems]:
    """Read the rows of a UTF-8 CSV, and the problems of rows with a wrong number of fields.

    Raises:
        SourceError: The file is not a CSV in UTF-8, or a column is missing or unknown.
    """
    rows: list[Row] = []
    problems: Problems = []
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(table, header)
            for fields in reader:
                values = [field.strip() for field in fields]
                if len(values) == len(header) and any(values):
                    rows.append(Row(reader.line_num, **dict(zip(header, values, strict=True))))
                elif any(values):
                    text = f"expected {len(header)} fields, found {len(values)}"
                    problems.append((reader.line_num, text))
    except UnicodeDecodeError as error:
        raise SourceError(str(table), [f"not UTF-8: {error}"], "Save it as UTF-8.") from error
    except csv.Error as error:
        raise SourceError(str(table), [f"line {reader.line_num}: {error}"]) from error
    return rows, problems


def _check_header(table: Path, header: list[str]) -> None:
    problems = [f"unknown column {name!r}" for name in header if name not in COLUMNS]
    problems += [f"no column {name!r}" for name in REQUIRED_COLUMNS if name not in header]
    problems += [f"column {name!r} twice" for name in COLUMNS if header.count(name) > 1]
    if problems:
        raise SourceError(str(table), problems, f"{EXPECTED} (the last two are optional).")
