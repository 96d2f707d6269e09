"""Bukva: its annotations, and where the clips lie below a folder."""

import csv
import dataclasses
import json
import random
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from pathlib import Path, PurePath

from dstadapter_jax.data.video.container import VIDEO_SUFFIXES
from tfds_builders.listing import Listing
from tfds_builders.sources import SourceError, by_key, unlisted

CLASS_IDS = Path(__file__).with_name("class_ids.json")
ANNOTATIONS = "annotations.tsv"
COLUMNS = ("attachment_id", "user_id", "text", "begin", "end", "train")
# `videos_cropped` is what an older archive called `trimmed`.
FOLDERS = {"trimmed": ("trimmed", "videos_cropped"), "original": ("original",)}
IS_TRAIN = {"true": True, "1": True, "false": False, "0": False}
NUM_CLIPS = {"train": 3_097, "test": 660}  # officially; validation is cut from train here
VALIDATION_SHARE, SEED = 0.1, 0


@dataclasses.dataclass(frozen=True)
class _Row:
    id: str
    user: str
    letter: str
    segment: tuple[int, int]
    train: bool


def label_names(*, upstream: bool = False) -> list[str]:
    """Letters in order of code point, as the official ids; `upstream` has `no_event` before them.

    Ё is first: that is not the alphabet's order.
    """
    names = json.loads(CLASS_IDS.read_text(encoding="utf-8"))
    return [names[str(i)] for i in range(0 if upstream else 1, len(names))]


def read(folder: Path, files: Sequence[Path], variant: str) -> Listing:
    """Reads the official test split, and cuts validation from the training users.

    Args:
      folder: what the archive was unpacked into, with `annotations.tsv`.
      files: all files below it.
      variant: `trimmed`, or `original`, whose clips show the letter in a part of them.

    Raises:
      SourceError: the annotations are missing or wrong, or two files are one clip.
    """
    rows = _read_annotations(folder, files)
    validation = _validation_users(folder, rows)

    def clip_of(path: PurePath) -> str | None:
        known = path.suffix.lower() in ("", *VIDEO_SUFFIXES)
        inside = any(part.lower() in FOLDERS[variant] for part in path.parts[:-1])
        return path.stem if known and inside else None

    found = by_key(folder, files, clip_of)
    method = f"official test; validation: drawn training users (seed {SEED})"
    listing = Listing(method, folder, unlisted=unlisted(folder, found, {row.id for row in rows}))
    for row in rows:
        split = ("validation" if row.user in validation else "train") if row.train else "test"
        segment = row.segment if variant == "original" else None
        path = found.get(row.id)
        listing.add(split, row.id, path, row.letter, signer=row.user, segment=segment)
    users = {row.user for row in rows if row.train} & {row.user for row in rows if not row.train}
    if users:
        listing.warnings.append(f"{len(users)} user(s) are in train and in test, officially none")
    counts = Counter("train" if row.train else "test" for row in rows)
    listing.compare(counts, NUM_CLIPS)
    return listing


def is_part(way: Sequence[str], own: Set[str], siblings: Set[str]) -> bool:
    """Whether a folder such as `bukva/trimmed` was given, the annotations being above it."""
    videos = {name for names in FOLDERS.values() for name in names}
    return way[0] in videos and ANNOTATIONS in siblings and ANNOTATIONS not in own


def _validation_users(folder: Path, rows: Sequence[_Row]) -> set[str]:
    """Draws training users until they have a tenth of the training clips."""
    clips = Counter(row.user for row in rows if row.train)
    order = random.Random(SEED).sample(sorted(clips), len(clips))
    drawn: set[str] = set()
    while order and sum(clips[user] for user in drawn) < VALIDATION_SHARE * clips.total():
        drawn.add(order.pop())
    if not order:
        problem = f"{len(clips)} user(s) in train, at least 2 expected"
        raise SourceError(str(folder), [problem], "One is needed for validation.")
    return drawn


def _read_annotations(folder: Path, files: Sequence[Path]) -> list[_Row]:
    tables = [file for file in files if file.name.lower() == ANNOTATIONS]
    if len(tables) != 1:
        problems = [file.relative_to(folder).as_posix() for file in tables] or ["none found"]
        raise SourceError(str(folder), problems, f"Expected one {ANNOTATIONS}.")
    header, *table = _table(tables[0])
    letters = frozenset(label_names())
    rows, problems, lines = [], [], defaultdict(list)
    for line, fields in enumerate(table, start=2):
        try:
            if any(fields):
                rows.append(_row(header, fields, letters))
                lines[rows[-1].id].append(line)
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    problems += [f"lines {n}: the same attachment_id" for n in lines.values() if len(n) > 1]
    if problems:
        raise SourceError(str(tables[0]), problems)
    return rows


def _table(path: Path) -> list[list[str]]:
    """Lines of stripped fields, the first of them the header, which has all of COLUMNS."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter="\t")
            table = [[field.strip() for field in fields] for fields in lines]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(str(path), [f"is no table in UTF-8: {error}"]) from error
    header = table[0] if table else []
    if absent := [f"no column {name!r}" for name in COLUMNS if name not in header]:
        advice = f"Expected columns, with tabs between: {', '.join(COLUMNS)}."
        raise SourceError(str(path), absent, advice)
    return table


def _row(header: list[str], fields: list[str], letters: frozenset[str]) -> _Row:
    """Raises ValueError if a value is missing or none that can be."""
    # Row numbers, the first column, may have no name in the header.
    if len(fields) not in (len(header), len(header) + 1):
        raise ValueError(f"{len(fields)} fields, {len(header)} expected")
    values = dict(zip(reversed(header), reversed(fields), strict=False))
    if absent := [name for name in COLUMNS if not values.get(name)]:
        raise ValueError(f"no {', '.join(absent)}")
    letter = unicodedata.normalize("NFC", values["text"])
    if letter not in letters:
        names = " + ".join(unicodedata.name(character, "?") for character in letter)
        raise ValueError(f"{letter!r} ({names}) is none of the 33 letters")
    if values["train"].lower() not in IS_TRAIN:
        raise ValueError(f"train is {values['train']!r}, expected True or False")
    begin, end = values["begin"], values["end"]
    if not (begin.isdecimal() and end.isdecimal() and int(begin) <= int(end)):
        raise ValueError(f"begin {begin!r} and end {end!r} are no span of frames")
    is_train = IS_TRAIN[values["train"].lower()]
    return _Row(
        values["attachment_id"], values["user_id"], letter, (int(begin), int(end)), is_train
    )
