"""AUTSL: the label files, and their clips in a folder."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path, PurePath

from tfds_builders.listing import Listing
from tfds_builders.sources import SourceError, by_key, unlisted

CLASSES = Path(__file__).with_name("SignList_ClassId_TR_EN.csv")
# Official names and those of copies; each file may lie in any folder.
LABEL_FILES = {
    "train": ("train_labels.csv",),
    "validation": ("validation_labels.csv", "val_labels.csv", "ground_truth.csv"),
    "test": ("test_labels.csv", "ground_truth.csv"),
}
VIDEO_FOLDERS = frozenset(("train", "val", "validation", "test"))
# The official splits share no signer, so a clip's split follows from its signer. The name of its
# label file does not suffice: two of them are called ground_truth.csv.
SIGNERS = {
    "train": (
        *(0, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 15, 17, 19, 20, 21, 22, 23, 24, 26, 28, 29, 31, 32),
        *(33, 36, 37, 38, 40, 41, 42),
    ),
    "validation": (1, 11, 16, 18, 25, 35),
    "test": (6, 14, 27, 30, 34, 39),
}
NUM_SIGNS = 226
NUM_CLIPS = {"train": 28_142, "validation": 4_418, "test": 3_742}

_SPLIT_OF = {signer: split for split, signers in SIGNERS.items() for signer in signers}
_CLIP = re.compile(r"signer(\d{1,2})_sample\d{1,4}", re.ASCII)


def label_names() -> list[str]:
    """Names in the order of ids, each `TURKISH (ENGLISH)`: English ones alone are not unique."""
    with CLASSES.open(encoding="utf-8", newline="") as file:
        return [f"{row['TR']} ({row['EN']})" for row in csv.DictReader(file)]


def read(folder: Path, files: Sequence[Path], num_clips: Mapping[str, int]) -> Listing:
    """Read the official splits; clips and label files may lie at any depth.

    Args:
        folder: Folder of the unpacked archives.
        files: All files below it.
        num_clips: For each official split, the number of clips; usually NUM_CLIPS.

    Raises:
        SourceError: A label file is missing or wrong, or two files are the same listed clip.
    """
    labels = _read_labels(folder, files)
    videos = by_key(folder, files, _clip_of)
    names = label_names()
    listing = Listing("official, no signer is in two splits", folder)
    for clip, label in labels.items():
        signer = _signer(clip)
        path = videos.get(clip)
        listing.add(_SPLIT_OF[signer], clip, path, names[label], signer=str(signer))
    listing.compare(listing.num_listed(), num_clips)
    listing.unlisted = unlisted(folder, videos, labels)
    return listing


def is_part(way: Sequence[str], own: Set[str], siblings: Set[str]) -> bool:
    """Whether a folder is a part such as `AUTSL/train`, with the label files in the one above."""
    known = {name for names in LABEL_FILES.values() for name in names}
    has_clips = any(_clip_of(PurePath(name)) for name in own)
    neighbors = has_clips and len(siblings & VIDEO_FOLDERS) > 1
    return way[0] in VIDEO_FOLDERS and (bool(siblings & known) or neighbors)


def _clip_of(path: PurePath) -> str | None:
    """Name of a color video in the label files; None for depth videos and other files."""
    stem = path.stem.removesuffix("_color")
    is_clip = path.suffix.lower() == ".mp4" and path.stem != stem and _CLIP.fullmatch(stem)
    return stem if is_clip else None


def _signer(clip: str) -> int:
    match = _CLIP.fullmatch(clip)
    return int(match[1]) if match else -1


def _read_labels(folder: Path, files: Sequence[Path]) -> dict[str, int]:
    """Label of each clip; a clip may be in several files if these agree."""
    known = {name for names in LABEL_FILES.values() for name in names}
    labels: dict[str, int] = {}
    problems = []
    for file in (file for file in files if file.name.lower() in known):
        where = file.relative_to(folder).as_posix()
        for line, row in _rows(file, where):
            if problem := _problem(row, labels):
                problems.append(f"{where}, line {line}: {problem}")
            else:
                labels[row[0]] = int(row[1])
    if problems:
        expected = "Expected no header and rows such as signer0_sample1,41"
        raise SourceError(str(folder), problems, f"{expected}, as in the official label files.")
    listed = Counter(_SPLIT_OF[_signer(clip)] for clip in labels)
    if absent := [
        f"no labels of {split}: expected {' or '.join(names)}"
        for split, names in LABEL_FILES.items()
        if not listed[split]
    ]:
        raise SourceError(str(folder), absent, "Put the label files into this folder.")
    return labels


def _rows(file: Path, where: str) -> Iterator[tuple[int, list[str]]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        try:
            for row in reader:
                if any(row):
                    yield reader.line_num, [field.strip() for field in row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise SourceError(where, [f"not a CSV in UTF-8: {error}"]) from error


def _problem(row: list[str], labels: dict[str, int]) -> str:
    if len(row) != 2:
        return f"expected 2 fields, found {len(row)}"
    clip, label = row
    if _signer(clip) not in _SPLIT_OF:
        return f"expected a clip of signers 0 to {max(_SPLIT_OF)}, found {clip!r}"
    if not re.fullmatch("[0-9]{1,3}", label) or int(label) >= NUM_SIGNS:
        return f"expected an id from 0 to {NUM_SIGNS - 1}, found {label!r}"
    if labels.get(clip, int(label)) != int(label):
        return f"{clip} has the label {label}, but {labels[clip]} in another row"
    return ""
