"""The clips that a dataset's lists name, and whether their files are in the user's folder."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from dstadapter_jax.data.splits import SPLITS
from tfds_builders.clip_examples import Clip
from tfds_builders.excluded import ExcludedClips
from tfds_builders.sources import SourceError

NO_FILE = "no such file"

_Value = TypeVar("_Value")


class Missing(NamedTuple):
    """A listed clip without a file; `signer` is '' where unknown."""

    label: str
    signer: str
    reason: str = NO_FILE


@dataclasses.dataclass
class Listing:
    """All clips of a dataset, by split.

    Attributes:
        split_method: Description of how the splits were made.
        folder: Folder of the clips; may be above or below the one that the user passed.
        found: For each split, the clips whose file was found, in the order of the lists.
        missing: For each split, the listed clips without a file, by id.
        num_unlisted: For each split, the number of official clips that the lists don't name.
        unavailable: For each split, ids of listed clips that were never published.
        unlisted: Paths, relative to the folder, of clips that no list names.
        warnings: Sentences for the user about the lists.
    """

    split_method: str
    folder: Path
    found: dict[str, list[Clip]] = dataclasses.field(default_factory=lambda: _per_split(list[Clip]))
    missing: dict[str, dict[str, Missing]] = dataclasses.field(
        default_factory=lambda: _per_split(dict[str, Missing])
    )
    num_unlisted: dict[str, int] = dataclasses.field(default_factory=lambda: _per_split(int))
    unavailable: dict[str, list[str]] = dataclasses.field(
        default_factory=lambda: _per_split(list[str])
    )
    unlisted: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)

    def add(
        self,
        split: str,
        clip_id: str,
        path: Path | None,
        label: str,
        *,
        signer: str = "",
        segment: tuple[int, int] | None = None,
    ) -> None:
        """Add a listed clip; `path` is None if its file was not found."""
        if path is None:
            self.missing[split][clip_id] = Missing(label, signer)
        else:
            self.found[split].append(Clip(clip_id, path, label, signer, segment))

    def compare(self, listed: Mapping[str, int], official: Mapping[str, int]) -> None:
        """Record and warn of splits whose lists are shorter or longer than the official ones."""
        for split, count in official.items():
            if (found := listed.get(split, 0)) != count:
                self.num_unlisted[split] = max(count - found, 0)
                self.warnings.append(
                    f"{split}: {found:,} clips listed, {count:,} in the official split"
                )

    def num_listed(self) -> dict[str, int]:
        """For each split, the number of listed clips, with those that were never published."""
        return {s: n + len(self.unavailable[s]) for s, n in self.num_published().items()}

    def num_published(self) -> dict[str, int]:
        """For each split, the number of listed clips that were published, found or not."""
        return {split: len(self.found[split]) + len(self.missing[split]) for split in SPLITS}

    def excluded(self, max_share: float) -> ExcludedClips:
        """The clips without a file; `max_share` of each split may be excluded."""
        excluded = ExcludedClips(
            str(self.folder), self.num_published(), max_share, self.num_unlisted
        )
        for split, clips in self.missing.items():
            for clip_id, clip in clips.items():
                excluded.add(split, clip_id, clip.label, clip.signer, clip.reason)
        return excluded

    def check(self) -> None:
        """Raise SourceError if a split lists no clip, or if no clip at all was found."""
        published = self.num_published()
        if empty := [f"no clip listed in {split}" for split, n in published.items() if not n]:
            raise SourceError(str(self.folder), empty)
        if not any(self.found.values()):
            problem = f"none of {sum(published.values()):,} clips found"
            raise SourceError(str(self.folder), [problem])


def _per_split(factory: Callable[[], _Value]) -> dict[str, _Value]:
    return {split: factory() for split in SPLITS}
