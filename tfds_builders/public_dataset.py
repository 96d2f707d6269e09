"""Base class of the builders of published datasets: their configs, and lists against files.

A dataset's `index.py` reads its lists and finds their clips.
"""

import abc
import dataclasses
import logging
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from tfds_builders import clip_examples
from tfds_builders.archives import unpack_hint
from tfds_builders.clip_builder import ClipDatasetBuilder
from tfds_builders.clip_examples import Clip
from tfds_builders.excluded import ExcludedClips, UnusableClipsError
from tfds_builders.listing import Listing
from tfds_builders.sources import SourceError, files_below, root_above, unlisted_warnings

_log = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class ClipConfig(tfds.core.BuilderConfig):
    """One variant of a dataset in one storage.

    Attributes:
        variant: Name of a choice of clips or splits.
        storage: `frames` or `original`.
        upstream_labels: Whether ids start at 1, with a class 0 without clips, as in the reference.
    """

    variant: str = ""
    storage: str = "frames"
    upstream_labels: bool = False


def configs(variants: Mapping[str, str], *, upstream: str = "") -> list[ClipConfig]:
    """Configs `VARIANT`, which stores frames, and `VARIANT-original`, which stores the files.

    Args:
        variants: Name to description.
        upstream: Description of the reference's labels; adds `VARIANT-upstream[-original]`.
    """
    return [
        ClipConfig(
            name="-".join([variant, *["upstream"] * base, *["original"] * (storage == "original")]),
            description=" ".join(filter(None, [about, upstream * base, how])),
            variant=variant,
            storage=storage,
            upstream_labels=base,
        )
        for variant, about in variants.items()
        for base in ([False, True] if upstream else [False])
        for storage, how in clip_examples.STORAGES.items()
    ]


class PublicDatasetBuilder(ClipDatasetBuilder):
    """Builder of a dataset whose clips are named by lists."""

    VERSION = tfds.core.Version("1.0.0")

    MAX_MISSING = 0.005
    NUM_CLIPS: ClassVar[Mapping[str, int]] = {}

    def __init__(self, *, num_clips: Mapping[str, int] | None = None, **kwargs: Any):
        """Create the builder.

        Args:
            num_clips: For each split, the number of clips that its list must have; by default those
                of the official splits, NUM_CLIPS.
            **kwargs: Arguments of the base class.
        """
        super().__init__(**kwargs)
        self._num_clips = self.NUM_CLIPS if num_clips is None else num_clips

    @abc.abstractmethod
    def _label_names(self) -> list[str]:
        """Names of all labels in the order of their ids."""

    @abc.abstractmethod
    def _read(self, folder: Path, files: Sequence[Path]) -> Listing:
        """Read the lists; `files` are all files below `folder`."""

    @abc.abstractmethod
    def _is_part(self, way: Sequence[str], own: Set[str], siblings: Set[str]) -> bool:
        """Whether a folder is a part of the dataset's folder, for `sources.root_above`."""

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        return self._clip_info(clip_examples.features(config.storage, self._label_names()))

    def listing(self, folder: Path) -> Listing:
        """The listed clips, and their files below `folder`.

        If `folder` is a part of the dataset, such as one split, the folder above is used.

        Raises:
            SourceError: The lists are missing or wrong, no clip was found, or a split lists none.
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
        """Instructions to get missing clips."""
        return f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}\n{unpack_hint(files)}".strip()

    def _storage(self) -> str:
        return self.builder_config.storage

    def _plan(self, folder: Path) -> tuple[Mapping[str, Sequence[Clip]], ExcludedClips]:
        listing = self.listing(folder)
        try:
            return self._plan_of(listing)
        except UnusableClipsError as error:
            error.add_advice(self._advice(files_below(listing.folder)))
            raise


def _place(listing: Listing) -> Path:
    """The deepest folder that contains all clips found."""
    return Path(os.path.commonpath([c.path.parent for of in listing.found.values() for c in of]))
