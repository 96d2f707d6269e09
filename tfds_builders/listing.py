"""What a dataset consists of: the clips of its lists, and which of them are there."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from tfds_builders.clip_examples import Clip
from tfds_builders.clip_shards import LeftOut
from tfds_builders.sources import SourceError

SPLITS = ("train", "validation", "test")
NO_FILE = "no such file"

_Value = TypeVar("_Value")


class Missing(NamedTuple):
    """What is known of a clip without a file; `signer` is '' where unknown."""

    label: str
    signer: str


@dataclasses.dataclass
class Listing:
    """The clips that a dataset's lists name.

    Attributes:
      split_method: in words, how the splits were made.
      folder: where the clips are looked for; not always the one that the user gave.
      found: of each split, the clips whose file is there, in the lists' order.
      missing: of each split, the clips whose file isn't there, by id.
      num_unlisted: of each split, how many of its official clips the lists don't name.
      unavailable: of each split, the ids of listed clips that nobody can have.
      unlisted: clips in the folder that no list names, by their paths in it.
      warnings: what a user should know of the lists.
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
        """Adds a listed clip; `path` is None if its file isn't there."""
        if path is None:
            self.missing[split][clip_id] = Missing(label, signer)
        else:
            self.found[split].append(Clip(clip_id, path, label, signer, segment))

    def compare(self, listed: Mapping[str, int], official: Mapping[str, int]) -> None:
        """Notes where the lists, some of whose rows may be lost, are not as long as officially."""
        for split, count in official.items():
            if (found := listed.get(split, 0)) != count:
                self.num_unlisted[split] = max(count - found, 0)
                self.warnings.append(
                    f"{split}: {found:,} clips listed, {count:,} in the official split"
                )

    def num_listed(self) -> dict[str, int]:
        """Clips that the lists name, split by split, whether they exist or not."""
        return {s: n + len(self.unavailable[s]) for s, n in self.num_to_find().items()}

    def num_to_find(self) -> dict[str, int]:
        """Listed clips that exist, split by split, whether they are in the folder or not."""
        return {split: len(self.found[split]) + len(self.missing[split]) for split in SPLITS}

    def left_out(self, max_share: float) -> LeftOut:
        """The clips that are left out whatever the files hold; `max_share` of a split may be."""
        left_out = LeftOut(str(self.folder), self.num_to_find(), max_share, self.num_unlisted)
        for split, clips in self.missing.items():
            for clip_id, clip in clips.items():
                left_out.add(split, clip_id, clip.label, clip.signer, NO_FILE)
        return left_out

    def check(self) -> None:
        """Raises `SourceError` if a split lists no clip or none of all clips is there."""
        to_find = self.num_to_find()
        if empty := [f"no clip listed in {split}" for split, count in to_find.items() if not count]:
            raise SourceError(str(self.folder), empty)
        if not any(self.found.values()):
            problem = f"none of {sum(to_find.values()):,} clips found"
            raise SourceError(str(self.folder), [problem])


def _per_split(factory: Callable[[], _Value]) -> dict[str, _Value]:
    return {split: factory() for split in SPLITS}
