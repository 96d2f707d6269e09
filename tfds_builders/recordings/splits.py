"""Splits of recordings: the user's, by signer, or drawn for each label."""

import random
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from dstadapter_jax.data.splits import SPLITS
from tfds_builders.clip_examples import Clip
from tfds_builders.recordings.contents import Recordings
from tfds_builders.sources import SourceError

VALIDATION_SHARE, TEST_SHARE = 0.1, 0.2  # share of the clips
SEED = 0
DRAWS = 1000  # random splits of the signers, of which the best one is used

Splits = dict[str, list[Clip]]


def make(recordings: Recordings) -> tuple[Splits, str]:
    """Return the clips of each split, and a description of how the splits were made.

    These are the user's own splits if there are any, else splits by signer if all signers are
    known, else a draw for each label. The same recordings always give the same splits.

    Raises:
        SourceError: A split has no clips, a label can't be trained and tested, or a signer is in
            several splits.
    """
    clips = recordings.clips
    if recordings.split_of:
        splits = _grouped(clips, [recordings.split_of[clip.id] for clip in clips])
        method = "as in the CSV's column split"
        advice = "Correct the column split, or remove it to have the splits made."
    elif all(clip.signer for clip in clips):
        splits = by_signer(clips)
        method = f"by signer (seed {SEED}), no signer is in two splits"
        advice = "Record these signs with more signers, remove them, or add a column split."
    else:
        splits = by_label(clips)
        method = (
            f"drawn for each label (seed {SEED}); signers unknown, so the same person may be in "
            "several splits"
        )
        advice = ""
    if problems := [*_missing_splits(splits), *_lone_labels(splits), *_shared_signers(splits)]:
        raise SourceError(f"Splits {method}", problems, advice)
    return splits, method


def by_signer(clips: list[Clip]) -> Splits:
    """Assign whole signers to splits, so that test accuracy is that of unseen signers.

    The best one of many random splits: with the fewest labels missing in a split, and among these
    the one nearest to the shares.

    Raises:
        SourceError: There are fewer signers than splits.
    """
    signers = sorted({clip.signer for clip in clips})
    if len(signers) < len(SPLITS):
        raise SourceError(
            "Splits by signer",
            [f"{len(signers)} signer(s): {', '.join(signers)}"],
            f"Expected at least {len(SPLITS)}, one for each split. Record more signers, add a "
            "column split, or remove the column signer to have each label's clips drawn.",
        )
    labels = sorted({clip.label for clip in clips})
    row = {signer: i for i, signer in enumerate(signers)}
    column = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(signers), len(labels)), int)
    for clip in clips:
        counts[row[clip.signer], column[clip.label]] += 1
    rng = random.Random(SEED)
    draws = (_draw(counts.sum(axis=1).tolist(), rng) for _ in range(DRAWS))
    best = min(draws, key=lambda split_of: _cost(counts, split_of))
    return _grouped(clips, [SPLITS[best[row[clip.signer]]] for clip in clips])


def _draw(sizes: list[int], rng: random.Random) -> np.ndarray:
    """Draw an index into SPLITS for each signer: test and validation are filled first.

    Args:
        sizes: Number of clips of each signer.
        rng: Random generator.
    """
    order = rng.sample(range(len(sizes)), len(sizes))
    split_of = np.zeros(len(sizes), int)
    for split, share, left_over in ((2, TEST_SHARE, 2), (1, VALIDATION_SHARE, 1)):
        target, filled = share * sum(sizes), 0
        while len(order) > left_over:
            size = sizes[order[-1]]
            if filled and abs(filled + size - target) >= abs(filled - target):
                break
            split_of[order.pop()] = split
            filled += size
    return split_of


def _cost(counts: np.ndarray, split_of: np.ndarray) -> tuple[int, int, float]:
    """The cost of a split of the signers, in order of weight; lower is better.

    Args:
        counts: `(signers, labels)`, number of clips.
        split_of: `(signers,)`, index into SPLITS.

    Returns:
        Number of labels that can't be trained and tested, number of labels missing in a split,
        and distance from the shares.
    """
    per_split = np.stack([counts[split_of == split].sum(axis=0) for split in range(len(SPLITS))])
    present = per_split > 0
    lone = ~present[0] | (present.sum(axis=0) == 1)
    shares = per_split.sum(axis=1) / counts.sum()
    distance = abs(shares[1] - VALIDATION_SHARE) + abs(shares[2] - TEST_SHARE)
    return int(lone.sum()), int((~present).sum()), float(distance)


def by_label(clips: list[Clip]) -> Splits:
    """Draw validation and test clips of each label, at least one of each.

    Raises:
        SourceError: A label has fewer clips than there are splits.
    """
    of_label = defaultdict(list)
    for clip in clips:
        of_label[clip.label].append(clip)
    few = [f"{label}: {len(c)} clip(s)" for label, c in sorted(of_label.items()) if len(c) < 3]
    if few:
        raise SourceError(
            "Splits drawn for each label",
            few,
            "Expected at least 3 clips of each label, one for each split. Record more, remove "
            "these labels, or add a CSV with the column split.",
        )
    split_of = {}
    for label, own in of_label.items():
        # A seed for each label: a new label does not change the draw of the others.
        order = random.Random(f"{SEED}/{label}").sample(own, len(own))
        num_test = max(1, round(TEST_SHARE * len(own)))
        num_held_out = num_test + max(1, round(VALIDATION_SHARE * len(own)))
        for i, clip in enumerate(order):
            split = "test" if i < num_test else "validation" if i < num_held_out else "train"
            split_of[clip.id] = split
    return _grouped(clips, [split_of[clip.id] for clip in clips])


def _grouped(clips: list[Clip], split_of: Iterable[str]) -> Splits:
    splits: Splits = {split: [] for split in SPLITS}
    for clip, split in zip(clips, split_of, strict=True):
        splits[split].append(clip)
    return splits


def _missing_splits(splits: Splits) -> list[str]:
    return [f"no clip in {split}" for split, clips in splits.items() if not clips]


def _lone_labels(splits: Splits) -> list[str]:
    found = _where(splits, "label")
    return [
        f"label {label}: only in {' and '.join(where)}"
        for label, where in sorted(found.items())
        if "train" not in where or len(where) == 1
    ]


def _shared_signers(splits: Splits) -> list[str]:
    found = _where(splits, "signer")
    return [
        f"signer {signer}: in {' and '.join(where)}"
        for signer, where in sorted(found.items())
        if signer and len(where) > 1
    ]


def _where(splits: Splits, field: str) -> dict[str, list[str]]:
    """For each value of a field of Clip, the splits in which it occurs."""
    found = defaultdict(list)
    for split, clips in splits.items():
        for value in {getattr(clip, field) for clip in clips}:
            found[value].append(split)
    return found
