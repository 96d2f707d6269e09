"""Copies of one file among the clips of several splits or labels."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from tqdm import tqdm

from tfds_builders.clip_examples import Clip
from tfds_builders.sources import first_names


def copy_warnings(splits: Mapping[str, Sequence[Clip]]) -> list[str]:
    """Sentences about files with the same bytes in several splits or of several labels.

    Only files of equal size are read. Segments of one file are not copies.
    """
    by_size = defaultdict(list)
    for split, clips in splits.items():
        for clip in clips:
            if clip.path.is_file() and not clip.segment and not clip.seconds:
                by_size[clip.path.stat().st_size].append((split, clip))
    candidates = [item for items in by_size.values() if len(items) > 1 for item in items]
    by_content = defaultdict(list)
    for split, clip in tqdm(candidates, "comparing", unit="file", disable=None, leave=False):
        with clip.path.open("rb") as file:
            by_content[hashlib.file_digest(file, "sha256").digest()].append((split, clip))
    groups = [group for group in by_content.values() if len(group) > 1]
    leaked = [group[0][1].id for group in groups if len({split for split, _ in group}) > 1]
    conflicting = [group[0][1].id for group in groups if len({c.label for _, c in group}) > 1]
    warnings = []
    if leaked:
        warnings.append(
            f"{len(leaked)} file(s) have copies in several splits, so test accuracies will be too"
            f" high: {first_names(leaked)}"
        )
    if conflicting:
        warnings.append(
            f"{len(conflicting)} file(s) have copies of other labels: {first_names(conflicting)}"
        )
    return warnings
