"""The report on a dataset's clips after decoding."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from datetime import datetime

from dstadapter_jax.data.splits import SPLITS
from tfds_builders.check import statistics
from tfds_builders.check.decoding import CheckedClip
from tfds_builders.check.statistics import Copies, Counts, Properties
from tfds_builders.listing import Listing


@dataclasses.dataclass(frozen=True)
class Unusable:
    """A listed clip that a build would exclude.

    Attributes:
        id: The clip's id.
        path: Path of its file in the folder; '' if it was not found.
        label: Name of its label.
        reason: Why it is unusable.
    """

    id: str
    path: str
    label: str
    reason: str


@dataclasses.dataclass(frozen=True)
class SplitReport:
    """One split.

    Attributes:
        listed: Number of clips that the lists name.
        found: Number of clips whose file was found.
        usable: Number of clips that a build would store.
        unavailable: Ids of listed clips that were never published.
        num_unlisted: Number of official clips that the lists don't name.
        missing: Clips without a file.
        unreadable: Clips that can't be decoded.
        within_bound: Whether few enough clips are unusable.
        signers: Number of known signers.
        absent_labels: Labels without a usable clip.
        one_frame: Ids of clips of a single frame.
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
    def share_excluded(self) -> float:
        """Share of the published clips that are missing, unreadable or not listed."""
        excluded = self.num_unlisted + len(self.missing) + len(self.unreadable)
        return excluded / max(self.num_unlisted + self.listed - len(self.unavailable), 1)


@dataclasses.dataclass(frozen=True)
class Lists:
    """The dataset's lists.

    Attributes:
        split_method: Description of how the splits were made.
        warnings: Warnings about the lists.
        unlisted: Paths in the folder of clips that no list names.
    """

    split_method: str
    warnings: list[str]
    unlisted: list[str]


@dataclasses.dataclass(frozen=True)
class Report:
    """The report.

    Attributes:
        dataset: `NAME/CONFIG`.
        folder: Folder of the clips; may be above or below the one that the user passed.
        time: Local time of the check, ISO 8601.
        would_build: Whether a build would succeed.
        max_missing: Share of each split's clips that a build may exclude.
        lists: The dataset's lists.
        splits: One report for each split.
        copies: Clips with the same content.
        shared_signers: Signers of clips in several splits, with these splits.
        labels: Number of usable clips of each label, in the order of ids.
        properties: Number of usable clips by properties of their files.
    """

    dataset: str
    folder: str
    time: str
    would_build: bool
    max_missing: float
    lists: Lists
    splits: dict[str, SplitReport]
    copies: Copies
    shared_signers: dict[str, list[str]]
    labels: Counts
    properties: Properties


def make(
    dataset: str,
    listing: Listing,
    labels: Sequence[str],
    max_missing: float,
    checked: Sequence[CheckedClip],
) -> Report:
    """Report on the listed clips and their decoded files.

    Args:
        dataset: `NAME/CONFIG`.
        listing: The listed clips.
        labels: Names of the labels in the order of ids.
        max_missing: Share of each split's clips that a build may exclude.
        checked: All clips found.
    """
    usable = [one for one in checked if not one.reason]
    splits = {
        split: _split_report(split, listing, labels, max_missing, checked) for split in SPLITS
    }
    return Report(
        dataset=dataset,
        folder=str(listing.folder.resolve()),
        time=datetime.now().astimezone().isoformat(" ", "minutes"),
        would_build=all(split.within_bound for split in splits.values()),
        max_missing=max_missing,
        lists=Lists(listing.split_method, listing.warnings, listing.unlisted),
        splits=splits,
        copies=statistics.find_copies(usable),
        shared_signers=statistics.find_shared_signers(usable),
        labels=statistics.count_labels(usable, labels),
        properties=statistics.count_properties(usable),
    )


def _split_report(
    split: str,
    listing: Listing,
    labels: Sequence[str],
    max_missing: float,
    checked: Iterable[CheckedClip],
) -> SplitReport:
    found = [one for one in checked if one.split == split]
    usable = [one for one in found if not one.reason]
    unreadable = [_unreadable(one, listing) for one in found if one.reason]
    excluded = listing.excluded(max_missing)
    missing = [
        Unusable(clip_id, "", excluded.labels[split][clip_id], reason)
        for clip_id, reason in excluded.reasons[split].items()
    ]
    for clip in unreadable:
        excluded.add(split, clip.id, clip.label, "", clip.reason)
    return SplitReport(
        listed=listing.num_listed()[split],
        found=len(found),
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


def _unreadable(one: CheckedClip, listing: Listing) -> Unusable:
    path = os.path.relpath(one.clip.path, listing.folder)
    return Unusable(one.clip.id, path, one.clip.label, one.reason)
