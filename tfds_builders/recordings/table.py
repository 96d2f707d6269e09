"""Tables of recordings: CSV in the dialects that spreadsheets and programs write."""

import codecs
import csv
import dataclasses
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from dstadapter_jax.errors import UserError
from tfds_builders.recordings.folders import visible
from tfds_builders.sources import SourceError, first_names

SUFFIXES = (".csv", ".tsv", ".txt")
# Names of columns, in lower case; the first one of each is documented, the others are common.
COLUMNS = {
    "path": ("path", "file", "filename", "file name", "file path", "filepath", "video", "clip"),
    "label": ("label", "gloss", "sign", "class"),
    "signer": ("signer", "signer id", "participant", "participant id"),
    "split": ("split", "subset"),
    "start": ("start", "start seconds"),
    "end": ("end", "end seconds"),
    "start_frame": ("start frame", "frame start"),
    "end_frame": ("end frame", "frame end"),
}
REQUIRED_COLUMNS = ("path", "label")
EXPECTED = "The first line names the columns: path,label[,signer][,split][,start,end]"
_DELIMITERS = ",;\t|"
# Before the names of columns: blank lines, and Excel's line that names the delimiter.
_BLANK = r"(?:[ \t,;|]*[\r\n])*"
_PREAMBLE = re.compile(rf"{_BLANK}(?:sep=.[\r\n]+)?{_BLANK}", re.IGNORECASE)
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

Problems = list[tuple[int, str]]  # line number and problem


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table; `line` is that of its last field, other fields are as in the file."""

    line: int
    path: str = ""
    label: str = ""
    signer: str = ""
    split: str = ""
    start: str = ""
    end: str = ""
    start_frame: str = ""
    end_frame: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """The rows of a table.

    Attributes:
        rows: The rows that are not blank.
        problems: Rows with a wrong number of fields.
        warnings: Sentences for the user about its columns.
    """

    rows: list[Row]
    problems: Problems
    warnings: list[str]


def find_tables(folder: Path, encoding: str = "") -> list[Path]:
    """The tables directly in a folder; empty if it can't be listed.

    All CSV files count, other text files if their first line names the required columns.

    Raises:
        UserError: The encoding is unknown.
    """
    _check_encoding(encoding)
    return [
        path
        for path in visible(folder)
        if path.is_file()
        and path.suffix.lower() in SUFFIXES
        and (path.suffix.lower() == ".csv" or lists_recordings(path, encoding))
    ]


def _check_encoding(encoding: str) -> None:
    try:
        b" ".decode(encoding or "utf-8", errors="replace")
    except (LookupError, ValueError) as error:  # ValueError: a null character in the name
        raise UserError(
            "--encoding",
            expected="a text encoding that Python knows, such as cp1252 or shift_jis",
            found=repr(encoding),
        ) from error


def lists_recordings(table: Path, encoding: str = "") -> bool:
    """Whether the first line of a table names the required columns."""
    with table.open("rb") as file:
        start = file.read(10_000)
    text = start.decode(encoding or _encoding_of(start), errors="replace")
    text = _PREAMBLE.sub("", text.removeprefix("\ufeff"), count=1)
    return any(_missing(header) == [] for _, header in _headers(text))


def read_table(table: Path, encoding: str = "") -> Table:
    """Read a table, whose delimiter is the one that gives the required columns.

    Args:
        table: The file.
        encoding: Its encoding; by default UTF-8, or UTF-16 by its first bytes.

    Raises:
        SourceError: The file has another encoding, or a required column is missing.
        UserError: The encoding is unknown.
    """
    _check_encoding(encoding)
    text = _read_text(table, encoding)
    marker = _PREAMBLE.match(text)[0]  # type: ignore[index]
    skipped = len(re.findall(r"\r\n|\r|\n", marker))
    text = text[len(marker) :]
    delimiter, header = min(_headers(text), key=lambda found: len(_missing(found[1])))
    _check_header(table, header)
    columns = [_column(name) for name in header]
    rows: list[Row] = []
    problems: Problems = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        next(reader, None)
        for fields in reader:
            values, line = [field.strip() for field in fields], reader.line_num + skipped
            if not any(values):
                continue
            # Excel omits delimiters after a row's last filled cell.
            if any(values[len(header) :]) or any(columns[len(values) :]):
                problems.append((line, f"expected {len(header)} fields, found {len(values)}"))
                continue
            named = zip(columns, values, strict=False)
            rows.append(Row(line, **{column: value for column, value in named if column}))
    except csv.Error as error:
        line = reader.line_num + skipped
        raise SourceError(str(table), [f"line {line}: {error}"]) from error
    return Table(rows, problems, _unknown(header))


def _read_text(table: Path, encoding: str) -> str:
    content = table.read_bytes()
    encoding = encoding or _encoding_of(content)
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeError as error:
        advice = "Save it as UTF-8, or pass its encoding, such as --encoding cp1252."
        raise SourceError(str(table), [f"not {encoding}: {error}"], advice) from error


def _encoding_of(content: bytes) -> str:
    for bom, encoding in _BOMS.items():
        if content.startswith(bom):
            return encoding
    # Text in UTF-16 without a mark: every second byte of ASCII characters is 0.
    pair = content[:2]
    if len(pair) == 2 and (pair[0] == 0) != (pair[1] == 0):
        return "utf-16-be" if pair[0] == 0 else "utf-16-le"
    return "utf-8"


def _headers(text: str) -> Iterator[tuple[str, list[str]]]:
    """The names of columns by each delimiter."""
    line = re.match(r"[^\r\n]*", text)[0]  # type: ignore[index]
    for delimiter in _DELIMITERS:
        try:
            first = next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error:
            first = []
        yield delimiter, [name.strip() for name in first]


def _column(name: str) -> str:
    """The known column of a name in any case, with spaces, `_` or `-`; '' if it is unknown."""
    words = " ".join(re.split(r"[\s_-]+", name.lower())).strip()
    return next((column for column, names in COLUMNS.items() if words in names), "")


def _missing(header: Sequence[str]) -> list[str]:
    found = {_column(name) for name in header}
    return [column for column in REQUIRED_COLUMNS if column not in found]


def _check_header(table: Path, header: Sequence[str]) -> None:
    missing = _missing(header)
    problems = [f"no column {column!r}" for column in missing]
    for column in COLUMNS:
        names = [name for name in header if _column(name) == column]
        if len(names) > 1:
            problems.append(f"several columns for {column!r}: {', '.join(names)}")
    if problems:
        found = f"Found: {', '.join(map(repr, header))}." if any(header) else "Found none."
        raise SourceError(str(table), problems, f"{EXPECTED}. {found}")


def _unknown(header: Sequence[str]) -> list[str]:
    unknown = [name or "without a name" for name in header if not _column(name)]
    if not unknown:
        return []
    return [f"{len(unknown)} column(s) left out: {first_names(unknown)}"]
