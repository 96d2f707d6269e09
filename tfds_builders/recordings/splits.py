"""Splits of recordings: the user's, by signer, or drawn for each label."""

import random
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from dstadapter_jax.data.splits import SPLITS
from tfds_builders.clip_examples import Clip
from tfds_builders.recordings.contents import Recordings
from tfds_builders.sources import SourceError, first_names

VALIDATION_SHARE, TEST_SHARE = 0.1, 0.2  # share of the clips
SEED = 0
DRAWS = 1000  # random splits of the signers, of which the best one is used

Splits = dict[str, list[Clip]]


def make(recordings: Recordings) -> tuple[Splits, str, list[str]]:
    """Return the clips of each split, how the splits were made, and warnings about them.

    These are the user's own splits if there are any, else splits by signer if all signers are
    known, else a draw for each label. The same recordings always give the same splits. The
    description includes the warnings: reports show it.

    Raises:
        SourceError: A split has no clips, or there are too few signers.
    """
    clips = recordings.clips
    advice = ""
    if recordings.split_of:
        splits = _grouped(clips, [recordings.split_of[clip.id] for clip in clips])
        method = f"as in {recordings.splits_from}"
        warnings = [*_shared_signers(splits), *_untrained_labels(splits)]
        advice = "Give each split clips, or leave the splits out to have them made."
    elif all(clip.signer for clip in clips):
        splits, warnings = _with_all_labels_in_train(by_signer(clips))
        method = f"by signer (seed {SEED})"
        if not warnings:
            method += ", no signer is in two splits"
    else:
        splits, warnings = by_label(clips), []
        method = (
            f"drawn for each label (seed {SEED}); signers unknown, so the same person may be in "
            "several splits"
        )
        advice = f"Expected at least {len(SPLITS)} clips of some label, one for each split."
    warnings += _untested_labels(splits)
    if problems := _missing_splits(splits):
        raise SourceError(f"Splits {method}", problems, advice)
    return splits, "; ".join([method, *warnings]), warnings


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
    """The cost of an assignment of signers to splits, compared in order; lower is better.

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


def _with_all_labels_in_train(splits: Splits) -> tuple[Splits, list[str]]:
    """Move the clips of labels that train lacks to train, with a warning."""
    trained = {clip.label for clip in splits["train"]}
    moved = {c.label for split in SPLITS[1:] for c in splits[split]} - trained
    if not moved:
        return splits, []
    clips = [(clip, split) for split, of in splits.items() for clip in of]
    placed = ["train" if clip.label in moved else split for clip, split in clips]
    warning = (
        f"labels recorded by held-out signers alone are in train: {first_names(sorted(moved))}"
        f" ({len(moved)}); these signers are in two splits"
    )
    return _grouped([clip for clip, _ in clips], placed), [warning]


def by_label(clips: list[Clip]) -> Splits:
    """Draw validation and test clips of each label, at least one of each.

    Labels with fewer clips than there are splits are in train alone.
    """
    of_label = defaultdict(list)
    for clip in clips:
        of_label[clip.label].append(clip)
    split_of = {}
    for label, own in of_label.items():
        # A seed for each label: a new label does not change the draw of the others.
        order = random.Random(f"{SEED}/{label}").sample(own, len(own))
        num_test = max(1, round(TEST_SHARE * len(own)))
        num_held_out = num_test + max(1, round(VALIDATION_SHARE * len(own)))
        if len(own) < len(SPLITS):
            num_test = num_held_out = 0
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


def _untrained_labels(splits: Splits) -> list[str]:
    found = _where(splits, "label")
    return _counted(
        "label(s) without a clip in train, which are never predicted",
        [label for label, where in found.items() if "train" not in where],
    )


def _untested_labels(splits: Splits) -> list[str]:
    found = _where(splits, "label")
    return _counted(
        "label(s) in train alone, which no accuracy covers",
        [label for label, where in found.items() if where == ["train"]],
    )


def _shared_signers(splits: Splits) -> list[str]:
    found = _where(splits, "signer")
    return _counted(
        "signer(s) in several splits, so accuracies do not hold for new people",
        [signer for signer, where in found.items() if signer and len(where) > 1],
    )


def _counted(what: str, names: list[str]) -> list[str]:
    return [f"{len(names)} {what}: {first_names(sorted(names))}"] if names else []


def _where(splits: Splits, field: str) -> dict[str, list[str]]:
    """For each value of a field of Clip, the splits in which it occurs."""
    found = defaultdict(list)
    for split, clips in splits.items():
        for value in {getattr(clip, field) for clip in clips}:
            found[value].append(split)
    return found
