"""Builder of a dataset of a user's own recordings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from tfds_builders import clip_examples
from tfds_builders.archives import unpack_hint
from tfds_builders.clip_builder import ClipDatasetBuilder
from tfds_builders.clip_examples import Clip
from tfds_builders.excluded import ExcludedClips
from tfds_builders.listing import Listing, Missing
from tfds_builders.recordings import index, splits
from tfds_builders.recordings.contents import lookalike_warnings
from tfds_builders.recordings.copies import copy_warnings
from tfds_builders.sources import first_names


class Builder(ClipDatasetBuilder):
    """Builder of `recordings/frames` and `recordings/original`; see README.md."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=storage, description=description)
        for storage, description in clip_examples.STORAGES.items()
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "--manual_dir is a folder of videos: LABEL/clip.mp4, or other levels of folders that "
        "--layout names, or with one table at its top whose columns are "
        "path,label[,signer][,split][,start,end]."
    )

    def __init__(self, *, layout: str = "", encoding: str = "", **kwargs: Any):
        """Create the builder.

        Args:
            layout: Levels of folders from the top, such as `split/label`; '' to find out.
            encoding: Encoding of the table; '' for UTF-8 or UTF-16.
            **kwargs: Arguments of the base class.
        """
        super().__init__(**kwargs)
        self._layout, self._encoding = layout, encoding

    def _info(self) -> tfds.core.DatasetInfo:
        return self._clip_info(clip_examples.features(self.builder_config.name))

    def listing(self, folder: Path) -> Listing:
        """The clips of a folder in their splits.

        Raises:
            SourceError: The folder or the table is wrong, or the splits are.
        """
        given, folder = folder, index.find(folder, self._encoding)
        recordings = index.read(folder, self._layout, self._encoding)
        clips_of, method, warnings = splits.make(recordings)
        listing = Listing(method, folder, found=clips_of, warnings=recordings.warnings + warnings)
        for clip in recordings.missing:
            missing = Missing(clip.label, clip.signer, clip.reason)
            listing.missing[clip.split or "train"][clip.id] = missing
        labels = {clip.label for clip in recordings.clips}
        labels |= {clip.label for clip in recordings.missing}
        listing.warnings += lookalike_warnings(labels)
        if folder != given:
            listing.warnings.insert(0, f"the recordings are in {folder}, not directly in {given}")
        if ignored := recordings.ignored:
            some = first_names(ignored)
            listing.warnings.append(f"{len(ignored)} file(s) left out, no videos: {some}")
            if hint := unpack_hint((folder / name for name in ignored), where=""):
                listing.warnings.append(hint)
        return listing

    def _plan(self, folder: Path) -> tuple[Mapping[str, Sequence[Clip]], ExcludedClips]:
        listing = self.listing(folder)
        listing.warnings += copy_warnings(listing.found)
        labels = {clip.label for clips in listing.found.values() for clip in clips}
        labels |= {clip.label for clips in listing.missing.values() for clip in clips.values()}
        self.info.features["label"].names = sorted(labels)
        return self._plan_of(listing)
