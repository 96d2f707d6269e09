"""Builder of a dataset of a user's own recordings."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from tfds_builders import clip_examples
from tfds_builders.archives import unpack_hint
from tfds_builders.clip_builder import ClipDatasetBuilder
from tfds_builders.clip_examples import Clip
from tfds_builders.excluded import ExcludedClips
from tfds_builders.listing import Listing
from tfds_builders.recordings import index, splits
from tfds_builders.sources import first_names

_log = logging.getLogger(__name__)


class Builder(ClipDatasetBuilder):
    """Builder of `recordings/frames` and `recordings/original`; see README.md."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=storage, description=description)
        for storage, description in clip_examples.STORAGES.items()
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "--manual_dir is a folder of videos: either LABEL/clip.mp4, or with one CSV at its top "
        "whose columns are path,label[,signer][,split]."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return self._clip_info(clip_examples.features(self.builder_config.name))

    def listing(self, folder: Path) -> Listing:
        """The clips of a folder in their splits.

        Raises:
            SourceError: The folder or the CSV is wrong, or the splits are.
        """
        given, folder = folder, index.find(folder)
        recordings = index.read(folder)
        clips_of, method = splits.make(recordings)
        listing = Listing(method, folder, found=clips_of)
        if folder != given:
            listing.warnings.append(f"the recordings are in {folder}, not directly in {given}")
        if ignored := recordings.ignored:
            some = first_names(ignored)
            listing.warnings.append(f"{len(ignored)} file(s) left out, no videos: {some}")
            if hint := unpack_hint((folder / name for name in ignored), where=""):
                listing.warnings.append(hint)
        return listing

    def _plan(self, folder: Path) -> tuple[Mapping[str, Sequence[Clip]], ExcludedClips]:
        listing = self.listing(folder)
        for warning in listing.warnings:
            _log.info("%s", warning)
        labels = sorted({clip.label for clips in listing.found.values() for clip in clips})
        self.info.features["label"].names = labels
        self.info.metadata["split_method"] = listing.split_method
        return listing.found, listing.excluded(max_share=0)
