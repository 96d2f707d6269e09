"""What the builders of published datasets share: configs, and lists against what is on the disk.

A dataset's `index.py` says which clips its lists name and where they lie; here that becomes splits,
or one error if too many clips are missing.
"""

import abc
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import tensorflow_datasets as tfds

from tfds_builders import clip_examples, clip_shards
from tfds_builders.clip_examples import Clip
from tfds_builders.sources import SourceError, files_below, unpack_hint

SPLITS = ("train", "validation", "test")
MAX_MISSING = 0.005  # of a split's listed clips
NO_FILE = "no such file"

_Value = TypeVar("_Value")

_log = logging.getLogger(__name__)


@dataclasses.dataclass
class Listing:
    """The clips that a dataset's lists name.

    Attributes:
      split_method: in words, how the splits were made.
      found: of each split, the clips whose file is there, in the lists' order.
      missing: of each split, the ids of the clips whose file isn't.
      never_published: of each split, the ids of listed clips that nobody can have.
      warnings: what a user should know of the lists.
    """

    split_method: str
    found: dict[str, list[Clip]] = dataclasses.field(default_factory=lambda: _per_split(list[Clip]))
    missing: dict[str, list[str]] = dataclasses.field(default_factory=lambda: _per_split(list[str]))
    never_published: dict[str, list[str]] = dataclasses.field(
        default_factory=lambda: _per_split(list[str])
    )
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
            self.missing[split].append(clip_id)
        else:
            self.found[split].append(Clip(clip_id, path, label, signer, segment))

    def num_listed(self) -> dict[str, int]:
        """Clips that the lists name, split by split, whether they exist or not."""
        parts = (self.found, self.missing, self.never_published)
        return {split: sum(len(part[split]) for part in parts) for split in SPLITS}


def _per_split(factory: Callable[[], _Value]) -> dict[str, _Value]:
    return {split: factory() for split in SPLITS}


@dataclasses.dataclass(eq=False)
class ClipConfig(tfds.core.BuilderConfig):
    """One variant of a dataset in one storage.

    Attributes:
      variant: which clips, or which splits.
      storage: `frames` or `original`.
      upstream_labels: whether ids start at 1, with a class 0 that no clip has, as in the reference.
      segmented: whether a file shows more than the sign.
    """

    variant: str = ""
    storage: str = "frames"
    upstream_labels: bool = False
    segmented: bool = False


def configs(
    variants: Mapping[str, str], *, upstream: str = "", segmented: bool = False
) -> list[ClipConfig]:
    """`VARIANT`, which stores frames, and `VARIANT-original`, which stores the files' bytes.

    Args:
      variants: names, each with a description.
      upstream: what the reference's labels are; adds `VARIANT-upstream[-original]`.
      segmented: whether a file shows more than the sign.
    """
    return [
        ClipConfig(
            name="-".join([variant, *["upstream"] * base, *["original"] * (storage == "original")]),
            description=" ".join(filter(None, [about, upstream * base, how])),
            variant=variant,
            storage=storage,
            upstream_labels=base,
            segmented=segmented,
        )
        for variant, about in variants.items()
        for base in ([False, True] if upstream else [False])
        for storage, how in clip_examples.STORAGES.items()
    ]


class PublicDatasetBuilder(tfds.core.ShardBasedBuilder):
    """Builds a dataset whose clips are named by lists."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, max_missing: float = MAX_MISSING, **kwargs):
        """Takes the share of each split that may be missing, and what TFDS's builders take."""
        super().__init__(**kwargs)
        self._max_missing = max_missing

    @abc.abstractmethod
    def _label_names(self) -> list[str]:
        """Names of all labels in the order of their ids."""

    @abc.abstractmethod
    def _read(self, folder: Path, files: Sequence[Path]) -> Listing:
        """Reads the lists; `files` are all that lie below `folder`."""

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        return self.dataset_info_from_configs(
            features=clip_examples.features(
                config.storage, self._label_names(), segmented=config.segmented
            ),
            metadata=tfds.core.MetadataDict(),
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Sequence[tfds.core.split_builder.ExampleGeneratorFn]]:
        folder = Path(dl_manager.manual_dir)
        files = sorted(files_below(folder))
        advice = f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS} {unpack_hint(files)}".strip()
        try:
            listing = self._read(folder, files)
        except SourceError as error:
            both = f"{error.advice}\n{advice}".strip()
            raise SourceError(error.where, error.problems, both) from error
        for warning in listing.warnings:
            _log.warning("%s", warning)
        left_out = _left_out(listing, self._max_missing, str(folder), advice)
        method = listing.split_method
        self.info.metadata.update(
            clip_examples.split_metadata(listing.found, method, self._label_names()),
            num_listed=listing.num_listed(),
            never_published=listing.never_published,
            missing=left_out.reasons,  # grows while the clips are decoded, and is written after
        )
        return clip_shards.shard_iterators(listing.found, self.builder_config.storage, left_out)


def _left_out(
    listing: Listing, max_missing: float, folder: str, advice: str
) -> clip_shards.LeftOut:
    """The clips without a file; raises before hours of decoding if these are too many already."""
    to_find = {s: len(listing.found[s]) + len(listing.missing[s]) for s in SPLITS}
    if empty := [f"no clip listed in {split}" for split, count in to_find.items() if not count]:
        raise SourceError(folder, empty, advice)
    if not any(listing.found.values()):
        raise SourceError(folder, [f"none of {sum(to_find.values()):,} clips found"], advice)
    left_out = clip_shards.LeftOut(to_find, max_missing)
    for split, ids in listing.missing.items():
        left_out.reasons[split].update(dict.fromkeys(ids, NO_FILE))
    try:
        left_out.check()
    except clip_shards.UnusableClipsError as error:
        raise ValueError(f"{error}\n{advice}") from error
    return left_out
