"""What is to be said of a dataset's clips, once they are decoded."""

import dataclasses
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from tfds_builders.check.decoding import CheckedClip
from tfds_builders.listing import SPLITS, Listing

Counts = dict[str, dict[str, int]]  # a value, and the clips of each split that have it


@dataclasses.dataclass(frozen=True)
class Unusable:
    """A listed clip that a build would leave out; `path`, in the folder, is '' without a file."""

    id: str
    path: str
    label: str
    reason: str


@dataclasses.dataclass(frozen=True)
class SplitReport:
    """One split.

    Attributes:
      listed: clips that the lists name.
      found: those whose file is there.
      usable: those that a build would hold.
      unavailable: ids of those that nobody can have.
      num_unlisted: official clips of the split that the lists don't name.
      missing, unreadable: those that a build would leave out.
      within_bound: whether these are few enough.
      signers: number of signers known.
      absent_labels: those that no usable clip shows.
      one_frame: ids of the clips that are a still picture.
    """

    listed: int
    found: int
    usable: int
    unavailable: list[str]
    num_unlisted: int
    missing: list[Unusable]
    unreadable: list[Unusable]
    within_bound: bool
    signers: int
    absent_labels: list[str]
    one_frame: list[str]

    @property
    def share_left_out(self) -> float:
        """Clips on no list, missing and unreadable ones among those that exist."""
        left_out = self.num_unlisted + len(self.missing) + len(self.unreadable)
        return left_out / max(self.num_unlisted + self.listed - len(self.unavailable), 1)


@dataclasses.dataclass(frozen=True)
class Copy:
    """One of several clips with the same content."""

    id: str
    split: str
    label: str


@dataclasses.dataclass(frozen=True)
class Report:
    """All that was found.

    Attributes:
      dataset: `NAME/CONFIG`.
      folder: where the clips are; not always the one that the user gave.
      time: of the check, local, ISO 8601.
      would_build: whether a build would succeed.
      max_missing: the share of each split that it may leave out.
      split_method: in words, how the splits were made.
      warnings: what the listing warns of.
      unlisted: clips in the folder that no list names, by their paths in it.
      splits: one report each.
      same_across_splits, same_within_split: groups of usable clips whose files, and segments of
        them, are the same, byte for byte.
      shared_signers: signers in several splits, with these.
      labels: usable clips of each label, in order of id.
      frames, sizes, codecs, fps, rotations: usable clips of each value: frames of the sign, width
        and height upright, FFmpeg's name, mean frames per second, degrees counterclockwise.
    """

    dataset: str
    folder: str
    time: str
    would_build: bool
    max_missing: float
    split_method: str
    warnings: list[str]
    unlisted: list[str]
    splits: dict[str, SplitReport]
    same_across_splits: list[list[Copy]]
    same_within_split: list[list[Copy]]
    shared_signers: dict[str, list[str]]
    labels: Counts
    frames: Counts
    sizes: Counts
    codecs: Counts
    fps: Counts
    rotations: Counts


def make(
    dataset: str,
    listing: Listing,
    labels: Sequence[str],
    max_missing: float,
    checked: Sequence[CheckedClip],
) -> Report:
    """Puts together what the lists say and what the files hold.

    Args:
      dataset: `NAME/CONFIG`.
      listing: the clips, as building has them.
      labels: names of the labels in order of id.
      max_missing: the share of each split that may be left out.
      checked: every clip found.
    """
    usable = [one for one in checked if not one.reason]
    splits = {
        split: _split_report(split, listing, labels, max_missing, checked) for split in SPLITS
    }
    groups = _same_content(usable)
    label_counts = _counts(usable, lambda one: one.clip.label)
    nothing = dict.fromkeys(SPLITS, 0)
    return Report(
        dataset=dataset,
        folder=str(listing.folder.resolve()),
        time=datetime.now().astimezone().isoformat(" ", "minutes"),
        would_build=all(split.within_bound for split in splits.values()),
        max_missing=max_missing,
        split_method=listing.split_method,
        warnings=listing.warnings,
        unlisted=listing.unlisted,
        splits=splits,
        same_across_splits=[group for group in groups if len({c.split for c in group}) > 1],
        same_within_split=[group for group in groups if len({c.split for c in group}) == 1],
        shared_signers=_shared_signers(usable),
        labels={label: label_counts.get(label, nothing) for label in labels},
        frames=_by_value(_counts(usable, lambda one: str(one.num_frames))),
        sizes=_by_count(_counts(usable, lambda one: f"{one.info.width}x{one.info.height}")),
        codecs=_by_count(_counts(usable, lambda one: one.info.codec)),
        fps=_by_count(_counts(usable, lambda one: f"{one.info.fps:.5g}")),
        rotations=_by_value(_counts(usable, lambda one: str(one.info.rotation))),
    )


def _split_report(
    split: str,
    listing: Listing,
    labels: Sequence[str],
    max_missing: float,
    checked: Iterable[CheckedClip],
) -> SplitReport:
    here = [one for one in checked if one.split == split]
    usable = [one for one in here if not one.reason]
    excluded = listing.excluded(max_missing)
    missing = [
        Unusable(clip_id, "", excluded.labels[split][clip_id], reason)
        for clip_id, reason in excluded.reasons[split].items()
    ]
    unreadable = [
        Unusable(
            id=one.clip.id,
            path=os.path.relpath(one.clip.path, listing.folder),
            label=one.clip.label,
            reason=one.reason,
        )
        for one in here
        if one.reason
    ]
    for one in unreadable:
        excluded.add(split, one.id, one.label, "", one.reason)
    return SplitReport(
        listed=listing.num_listed()[split],
        found=len(here),
        usable=len(usable),
        unavailable=listing.unavailable[split],
        num_unlisted=listing.num_unlisted[split],
        missing=missing,
        unreadable=unreadable,
        within_bound=excluded.within_bound(split),
        signers=len({one.clip.signer for one in usable} - {""}),
        absent_labels=sorted(set(labels) - {one.clip.label for one in usable}, key=labels.index),
        one_frame=[one.clip.id for one in usable if one.num_frames == 1],
    )


def _same_content(usable: Iterable[CheckedClip]) -> list[list[Copy]]:
    groups = defaultdict(list)
    for one in usable:
        # Of one recording, different segments are different clips.
        copy = Copy(one.clip.id, one.split, one.clip.label)
        groups[one.sha256, one.clip.segment].append(copy)
    return [group for group in groups.values() if len(group) > 1]


def _shared_signers(usable: Iterable[CheckedClip]) -> dict[str, list[str]]:
    splits_of = defaultdict(set)
    for one in usable:
        splits_of[one.clip.signer].add(one.split)
    return {
        signer: [split for split in SPLITS if split in splits]
        for signer, splits in sorted(splits_of.items())
        if signer and len(splits) > 1
    }


def _counts(usable: Iterable[CheckedClip], value: Callable[[CheckedClip], str]) -> Counts:
    counts: Counts = defaultdict(lambda: dict.fromkeys(SPLITS, 0))
    for one in usable:
        counts[value(one)][one.split] += 1
    return dict(counts)


def _by_value(counts: Counts) -> Counts:
    return {value: counts[value] for value in sorted(counts, key=int)}


def _by_count(counts: Counts) -> Counts:
    order = Counter({value: sum(of_split.values()) for value, of_split in counts.items()})
    return {value: counts[value] for value, _ in order.most_common()}


def extremes(labels: Mapping[str, Mapping[str, int]], split: str) -> tuple[int, int, int]:
    """Least, median and most clips of those labels that a split has."""
    counts = sorted(of_split[split] for of_split in labels.values() if of_split[split])
    return (counts[0], counts[len(counts) // 2], counts[-1]) if counts else (0, 0, 0)
