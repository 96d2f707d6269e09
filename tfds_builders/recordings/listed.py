"""Recordings that a table lists, with labels and optionally signers, splits and segments."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfds_builders.clip_examples import Clip
from tfds_builders.recordings.contents import (
    SPLIT_NAMES,
    MissingClip,
    Recordings,
    clean_name,
    name_problem,
)
from tfds_builders.recordings.paths import PathFinder
from tfds_builders.recordings.table import Problems, Row, read_table
from tfds_builders.sources import SourceError, first_names


def read_listed(table: Path, encoding: str = "") -> Recordings:
    """Read the recordings that a table lists.

    Paths are relative to the table's folder and stay inside it. `signer` and `split` are given in
    all rows or in none.

    Raises:
        SourceError: The table is wrong.
    """
    read = read_table(table, encoding)
    finder, problems = PathFinder(table.parent), list(read.problems)
    clips, missing, split_of, lines = [], [], {}, defaultdict(list)
    for row in read.rows:
        found = list(_row_problems(row))
        path, absent = finder.find(row.path) if row.path else ("", "")
        if absent.startswith("path leaves"):
            found.append(absent)
        problems += [(row.line, problem) for problem in found]
        if found:
            continue
        clip = _clip(row, table.parent, path or row.path)
        lines[clip.id].append(row.line)
        split = SPLIT_NAMES.get(row.split.lower(), "")
        if absent:
            reason = f"line {row.line}: {absent}"
            missing.append(MissingClip(clip.id, clip.label, clip.signer, split, reason))
            continue
        clips.append(clip)
        if split:
            split_of[clip.id] = split
    problems += _duplicates(lines) + _blanks(read.rows, "signer") + _blanks(read.rows, "split")
    if problems:
        raise SourceError(str(table), [f"line {n}: {text}" for n, text in sorted(problems)])
    return Recordings(
        sorted(clips, key=lambda clip: clip.id),
        split_of,
        "the column split" if split_of else "",
        missing=missing,
        warnings=read.warnings + _overlaps(clips),
    )


def _clip(row: Row, folder: Path, path: str) -> Clip:
    """The clip of a row; the ids of segments of one video differ by their ends."""
    segment, seconds, suffix = None, None, ""
    if row.start_frame or row.end_frame:
        first, end = int(row.start_frame or 0), int(row.end_frame) if row.end_frame else None
        segment = (first, None if end is None else end - 1)
        suffix = f"#{first}-{'' if end is None else end}"
    elif row.start or row.end:
        seconds = (_seconds(row.start or "0") or 0.0, _seconds(row.end) if row.end else None)
        suffix = f"#{row.start or 0}-{row.end}s"
    label, signer = clean_name(row.label), clean_name(row.signer)
    return Clip(path + suffix, folder / path, label, signer, segment, seconds)


def _row_problems(row: Row) -> Iterator[str]:
    if not row.label:
        yield "no label"
    for value in (row.label, row.path, row.signer):
        if problem := name_problem(value):
            yield f"{value!r}: {problem}"
    if not row.path:
        yield "no path"
    if row.split and row.split.lower() not in SPLIT_NAMES:
        yield f"unknown split {row.split!r}; valid: {', '.join(SPLIT_NAMES)}"
    yield from _segment_problems(row)


def _segment_problems(row: Row) -> Iterator[str]:
    if (row.start or row.end) and (row.start_frame or row.end_frame):
        yield "both seconds and frames; give start,end or start_frame,end_frame"
        return
    for start, end, number, unit in (
        (row.start, row.end, _seconds, "seconds, such as 12.5 or 0:12.5"),
        (row.start_frame, row.end_frame, _frame, "a frame number from 0"),
    ):
        wrong = [text for text in (start, end) if text and number(text) is None]
        for text in wrong:
            yield f"{text!r}: expected {unit}"
        if end and not wrong and (number(start or "0") or 0) >= (number(end) or 0):
            yield f"the segment ends at {end}, not after its start, {start or 0}"


def _frame(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,9}", text) else None


def _seconds(text: str) -> float | None:
    """Parse seconds, `m:s` or `h:m:s`; a decimal comma is a point; None if it is no time."""
    match = re.fullmatch(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,9}(?:[.,]\d{1,9})?)", text)
    if not match:
        return None
    hours, minutes, seconds = match.groups()
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds.replace(",", "."))


def _duplicates(lines: dict[str, list[int]]) -> Problems:
    return [
        (line, f"same clip as line {first}: {clip_id}")
        for clip_id, (first, *others) in lines.items()
        for line in others
    ]


def _overlaps(clips: Sequence[Clip]) -> list[str]:
    """A sentence about segments of one video that share time, if there are any."""
    of_video = defaultdict(list)
    for clip in clips:
        first, last = clip.seconds or clip.segment or (0, None)
        end = math.inf if last is None else last + (clip.seconds is None)
        of_video[clip.path, clip.seconds is None].append((first, end, clip.id))
    overlapping = []
    for segments in of_video.values():
        reached, longest = 0.0, ""
        for first, end, clip_id in sorted(segments):
            if longest and first < reached:
                overlapping.append(f"{longest} and {clip_id}")
            if end > reached:
                reached, longest = end, clip_id
    if not overlapping:
        return []
    return [f"{len(overlapping)} segment(s) overlap others: {first_names(overlapping)}"]


def _blanks(rows: Sequence[Row], column: str) -> Problems:
    blank = [row.line for row in rows if not getattr(row, column)]
    if len(blank) == len(rows):
        return []
    return [(line, f"no {column}; give it in all rows or in none") for line in blank]
