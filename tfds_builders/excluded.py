"""Clips that a dataset excludes because they are missing or can't be decoded."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tfds_builders.sources import SourceError


class UnusableClipsError(SourceError):
    """More clips are missing or can't be decoded than may be excluded.

    Attributes:
        num_clips: Their number.
    """

    def __init__(self, folder: str, num_clips: int, problems: Sequence[str], advice: str):
        summary = f"{num_clips:,} clip(s) can't be read, so nothing was built"
        super().__init__(folder, problems, advice, summary=summary)
        self.num_clips = num_clips


class ExcludedClips:
    """The excluded clips of each split, and the bound on their number.

    Attributes:
        reasons: For each split, clip id to the reason.
        labels: For each split, clip id to the name of its label.
        signers: For each split, clip id to its signer, '' where unknown.
        num_unlisted: For each split, the number of official clips that the lists don't name.
    """

    def __init__(
        self,
        folder: str,
        num_listed: Mapping[str, int],
        max_share: float,
        num_unlisted: Mapping[str, int] = MappingProxyType({}),
    ):
        """Exclude no clip yet.

        Args:
            folder: Folder of the clips or of the dataset, for errors.
            num_listed: Number of listed clips of each split.
            max_share: Share of each split's clips that may be excluded.
            num_unlisted: For each split, the number of official clips that the lists don't name.
        """
        self.reasons: dict[str, dict[str, str]] = {split: {} for split in num_listed}
        self.labels: dict[str, dict[str, str]] = {split: {} for split in num_listed}
        self.signers: dict[str, dict[str, str]] = {split: {} for split in num_listed}
        self.num_unlisted = dict(num_unlisted)
        self._folder, self._num_listed, self._max_share = folder, num_listed, max_share

    def add(self, split: str, clip_id: str, label: str, signer: str, reason: str) -> None:
        """Exclude a clip."""
        self.reasons[split][clip_id] = reason
        self.labels[split][clip_id], self.signers[split][clip_id] = label, signer

    def within_bound(self, split: str) -> bool:
        """Whether a split lacks no more clips than it may."""
        return self._count(split) <= self._max_share * self._total(split)

    def _count(self, split: str) -> int:
        return len(self.reasons[split]) + self.num_unlisted.get(split, 0)

    def _total(self, split: str) -> int:
        return self._num_listed[split] + self.num_unlisted.get(split, 0)

    def check(self) -> None:
        """Raise UnusableClipsError, which names every excluded clip, if a split lacks too many."""
        if all(self.within_bound(split) for split in self.reasons):
            return
        problems = [f"{n:,} clips of {s} are on no list" for s, n in self.num_unlisted.items() if n]
        problems += sorted(
            f"{clip_id}: {reason}"
            for reasons in self.reasons.values()
            for clip_id, reason in reasons.items()
        )
        num_clips = sum(map(self._count, self.reasons))
        raise UnusableClipsError(self._folder, num_clips, problems, self._advice())

    def _advice(self) -> str:
        if not self._max_share:
            return (
                "Replace these files, remove them (and their rows, if a table lists them), or pass "
                "the share of clips that may be left out, such as --max_missing 0.01."
            )
        lacking = [
            f"{self._count(split):,} of {self._total(split):,} in {split}"
            for split in self.reasons
            if self._count(split)
        ]
        return (
            f"These are {', '.join(lacking)}; of each split {self._max_share:.3%} may be excluded. "
            "Get these files (again), or pass a higher --max_missing."
        )
