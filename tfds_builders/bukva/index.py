"""Bukva: splits of the annotated clips, and their files in a folder."""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path, PurePath

from dstadapter_jax.data.video.container import VIDEO_SUFFIXES
from tfds_builders.bukva import annotations
from tfds_builders.bukva.annotations import Annotation
from tfds_builders.listing import Listing
from tfds_builders.sources import SourceError, by_key, unlisted

CLASS_IDS = Path(__file__).with_name("class_ids.json")
# `videos_cropped` is the name of `trimmed` in an older archive.
FOLDERS = {"trimmed": ("trimmed", "videos_cropped"), "original": ("original",)}
NUM_CLIPS = {"train": 3_097, "test": 660}  # official; validation is drawn from train
VALIDATION_SHARE, SEED = 0.1, 0


def label_names(*, upstream: bool = False) -> list[str]:
    """Letters in the order of the official ids; `upstream` has `no_event` before them.

    The order is that of code points, not of the alphabet: Ё is first.
    """
    names = json.loads(CLASS_IDS.read_text(encoding="utf-8"))
    return [names[str(i)] for i in range(0 if upstream else 1, len(names))]


def read(
    folder: Path,
    files: Sequence[Path],
    variant: str,
    num_clips: Mapping[str, int],
) -> Listing:
    """Read the official test split, and draw the validation split from the training users.

    Args:
        folder: Folder of the unpacked archive, with `annotations.tsv`.
        files: All files below it.
        variant: `trimmed`, or `original`, whose clips show the letter in a part of them.
        num_clips: For each official split, the number of clips; usually NUM_CLIPS.

    Raises:
        SourceError: The annotations are missing or wrong, or two files are the same clip.
    """
    rows = annotations.read(folder, files, label_names())
    validation = _validation_users(folder, rows)
    found = _find_clips(folder, files, variant)
    method = f"official test; validation: drawn training users (seed {SEED})"
    listing = Listing(method, folder, unlisted=unlisted(folder, found, {row.id for row in rows}))
    for row in rows:
        split = "validation" if row.train and row.user in validation else _official_split(row)
        segment = row.segment if variant == "original" else None
        path = found.get(row.id)
        listing.add(split, row.id, path, row.letter, signer=row.user, segment=segment)
    if shared := _users_of_both_splits(rows):
        listing.warnings.append(f"{shared} user(s) are in train and in test, officially none")
    listing.compare(Counter(map(_official_split, rows)), num_clips)
    return listing


def is_part(way: Sequence[str], own: Set[str], siblings: Set[str]) -> bool:
    """Whether a folder is a part such as `bukva/trimmed`, with the annotations above it."""
    videos = {name for names in FOLDERS.values() for name in names}
    return way[0] in videos and annotations.NAME in siblings and annotations.NAME not in own


def _find_clips(folder: Path, files: Sequence[Path], variant: str) -> dict[str, Path]:
    """Files by id; a file's name is its id, with or without a suffix."""

    def id_of(path: PurePath) -> str | None:
        is_video = path.suffix.lower() in ("", *VIDEO_SUFFIXES)
        inside = any(part.lower() in FOLDERS[variant] for part in path.parts[:-1])
        return path.stem if is_video and inside else None

    return by_key(folder, files, id_of)


def _official_split(row: Annotation) -> str:
    return "train" if row.train else "test"


def _users_of_both_splits(rows: Sequence[Annotation]) -> int:
    train, test = ({row.user for row in rows if row.train is value} for value in (True, False))
    return len(train & test)


def _validation_users(folder: Path, rows: Sequence[Annotation]) -> set[str]:
    """Draw training users until they have a tenth of the training clips."""
    clips = Counter(row.user for row in rows if row.train)
    order = random.Random(SEED).sample(sorted(clips), len(clips))
    drawn: set[str] = set()
    while order and sum(clips[user] for user in drawn) < VALIDATION_SHARE * clips.total():
        drawn.add(order.pop())
    if not order:
        problem = f"expected at least 2 users in train, found {len(clips)}"
        raise SourceError(str(folder), [problem], "One is needed for validation.")
    return drawn
