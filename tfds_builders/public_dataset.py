"""What the builders of published datasets share: configs, and lists against what is on the disk.

A dataset's `index.py` says which clips its lists name and where they lie; here that becomes splits,
or one error if too many clips are missing.
"""

import abc
import dataclasses
import logging
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

import tensorflow_datasets as tfds

from tfds_builders import clip_examples, clip_shards
from tfds_builders.archives import unpack_hint
from tfds_builders.clip_builder import ClipDatasetBuilder
from tfds_builders.clip_examples import Clip
from tfds_builders.listing import Listing
from tfds_builders.sources import SourceError, files_below, root_above, unlisted_warnings

MAX_MISSING = 0.005  # of a split's listed clips

_log = logging.getLogger(__name__)


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


class PublicDatasetBuilder(ClipDatasetBuilder):
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

    @abc.abstractmethod
    def _is_part(self, way: Sequence[str], own: Set[str], siblings: Set[str]) -> bool:
        """Whether a folder is a part of the dataset's, as `sources.root_above` asks it."""

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        return self.dataset_info_from_configs(
            features=clip_examples.features(
                config.storage, self._label_names(), segmented=config.segmented
            ),
            metadata=tfds.core.MetadataDict(),
        )

    def listing(self, folder: Path) -> Listing:
        """The clips that the lists name, and which of them lie below `folder`.

        Where `folder` is but a part of the dataset, that is looked for in the one above.

        Raises:
          SourceError: the lists are missing or wrong, no clip is there, or a split has none.
        """
        given, folder = folder, root_above(folder, self._is_part) or folder
        files = sorted(files_below(folder))
        try:
            listing = self._read(folder, files)
            listing.check()
        except SourceError as error:
            error.add_advice(self._advice(files))
            raise
        listing.warnings += unlisted_warnings(listing.unlisted)
        if folder != given:
            listing.warnings.insert(0, f"{given} is a part of the dataset: {folder} is used")
        if (place := _place(listing)) != folder:
            _log.info("All clips found are in %s", place)
        return listing

    def _advice(self, files: Iterable[Path]) -> str:
        """Where clips that aren't there are to be had."""
        return f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}\n{unpack_hint(files)}".strip()

    def _storage(self) -> str:
        return self.builder_config.storage

    def _plan(self, folder: Path) -> tuple[Mapping[str, Sequence[Clip]], clip_shards.LeftOut]:
        listing = self.listing(folder)
        for warning in listing.warnings:
            _log.warning("%s", warning)
        left_out = self._left_out(listing)
        self.info.metadata.update(
            split_method=listing.split_method,
            num_listed=listing.num_listed(),
            unavailable=listing.unavailable,
            unlisted=listing.unlisted,
            num_unlisted=listing.num_unlisted,
            # These grow while the clips are decoded, and are written after.
            missing=left_out.reasons,
            missing_clip_labels=left_out.labels,
            missing_clip_signers=left_out.signers,
        )
        return listing.found, left_out

    def _left_out(self, listing: Listing) -> clip_shards.LeftOut:
        """The clips without a file or row; raises before hours of decoding if too many already."""
        left_out = listing.left_out(self._max_missing)
        try:
            left_out.check()
        except clip_shards.UnusableClipsError as error:
            error.add_advice(self._advice(files_below(listing.folder)))
            raise
        return left_out


def _place(listing: Listing) -> Path:
    """The deepest folder that holds all clips found."""
    return Path(os.path.commonpath([c.path.parent for of in listing.found.values() for c in of]))
