"""Base class of all builders: a dataset of clips in shards, written here or on Beam's workers."""

import abc
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_builder import FileReaderBuilder
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from dstadapter_jax.errors import UserError
from tfds_builders import clip_examples
from tfds_builders.clip_examples import Clip
from tfds_builders.clip_shards import Shard, write_shard
from tfds_builders.excluded import ExcludedClips
from tfds_builders.listing import Listing

CLIPS_PER_SHARD = 256  # about 400 MB of frames
SHARDS = ".shards"  # folder of complete shards during a build, beside the dataset's versions


_log = logging.getLogger(__name__)


class ClipDatasetBuilder(FileReaderBuilder):
    """Builder of a dataset of clips; resumes an interrupted build shard by shard.

    Shards are moved into the dataset's folder once all of them are complete.
    """

    MAX_MISSING: ClassVar[float] = 0.0

    def __init__(self, *, max_missing: float | None = None, **kwargs: Any):
        """Create the builder.

        Args:
            max_missing: Share of each split's clips that may be missing or damaged; by default
                MAX_MISSING.
            **kwargs: Arguments of TFDS's builders.
        """
        super().__init__(**kwargs)
        self.max_missing = self.MAX_MISSING if max_missing is None else max_missing

    @abc.abstractmethod
    def _plan(self, folder: Path) -> tuple[Mapping[str, Sequence[Clip]], ExcludedClips]:
        """List the clips to build, and set label names and all metadata but `split_metadata`.

        Args:
            folder: The user's folder.

        Returns:
            The clips of each split, and the clips that are excluded already.

        Raises:
            SourceError: The folder or its lists are wrong.
        """

    def _plan_of(self, listing: Listing) -> tuple[Mapping[str, Sequence[Clip]], ExcludedClips]:
        """The plan of listed clips, with their metadata and warnings."""
        for warning in listing.warnings:
            _log.warning("%s", warning)
        excluded = listing.excluded(self.max_missing)
        self.info.metadata.update(
            split_method=listing.split_method,
            num_listed=listing.num_listed(),
            unavailable=listing.unavailable,
            unlisted=listing.unlisted,
            num_unlisted=listing.num_unlisted,
            # Extended while clips are decoded, and written afterwards.
            missing=excluded.reasons,
            missing_clip_labels=excluded.labels,
            missing_clip_signers=excluded.signers,
        )
        excluded.check()  # before hours of decoding
        return listing.found, excluded

    def _storage(self) -> str:
        """`frames` or `original`."""
        return self.builder_config.name

    def _clip_info(self, features: tfds.features.FeaturesDict) -> tfds.core.DatasetInfo:
        """The dataset's info, filled from the builder's folder and nothing else."""
        info = self.dataset_info_from_configs(features=features, metadata=tfds.core.MetadataDict())
        # TFDS would look for these datasets in its bucket and leave an empty temporary folder.
        info.initialize_from_bucket = lambda: None
        return info

    def _download_and_prepare(
        self,
        dl_manager: tfds.download.DownloadManager,
        download_config: tfds.download.DownloadConfig,
    ) -> None:
        splits, excluded = self._plan(Path(dl_manager.manual_dir))
        folder = Path(self.data_path).parent / SHARDS
        folder.mkdir(exist_ok=True)
        shards = {split: self._shards(split, clips, folder) for split, clips in splits.items()}
        all_shards = [shard for split_shards in shards.values() for shard in split_shards]
        if download_config.beam_options:
            from tfds_builders import beam_shards  # Beam is an extra

            beam_shards.write(all_shards, self.info.features, download_config.beam_options)
        else:
            _write(all_shards, self.info.features)
        infos = [self._split_info(split, of, excluded) for split, of in shards.items()]
        excluded.check()
        stored = {
            split: [clip for clip in clips if clip.id not in excluded.reasons[split]]
            for split, clips in splits.items()
        }
        labels = self.info.features["label"].names
        self.info.metadata.update(clip_examples.split_metadata(stored, labels))
        for shard in all_shards:
            shard.path.rename(self.data_path / shard.path.name)
        # Workers of a killed build on Beam may still write and remove temporary files there.
        shutil.rmtree(folder, ignore_errors=True)
        self.info.set_splits(tfds.core.splits.SplitDict(infos))

    def _shards(self, split: str, clips: Sequence[Clip], folder: Path) -> list[Shard]:
        template = self._get_filename_template(split)
        parts = [clips[i : i + CLIPS_PER_SHARD] for i in range(0, len(clips), CLIPS_PER_SHARD)]
        names = (
            template.sharded_filepath(shard_index=i, num_shards=len(parts)).name
            for i in range(len(parts))
        )
        storage = self._storage()
        return [
            Shard(folder / name, part, storage) for name, part in zip(names, parts, strict=True)
        ]

    def _split_info(
        self, split: str, shards: Sequence[Shard], excluded: ExcludedClips
    ) -> tfds.core.SplitInfo:
        """Describe a written split, and add the clips that could not be decoded to `excluded`."""
        lengths = []
        for shard in shards:
            result = shard.result(self.info.features)
            if result is None:
                raise UserError(
                    str(shard.path),
                    problem="its clips changed while it was written",
                    advice="Start the same command again once all files are copied.",
                )
            lengths.append(result["num_clips"])
            clips = {clip.id: clip for clip in shard.clips}
            for clip_id, reason in result["excluded"].items():
                excluded.add(split, clip_id, clips[clip_id].label, clips[clip_id].signer, reason)
        return tfds.core.SplitInfo(
            name=split,
            shard_lengths=lengths,
            num_bytes=sum(shard.path.stat().st_size for shard in shards),
            filename_template=self._get_filename_template(split),
        )


def _write(shards: Sequence[Shard], features: tfds.features.FeaturesDict) -> None:
    """Write the shards one after the other, each on all cores."""
    threads = os.cpu_count() or 1
    total = sum(len(shard.clips) for shard in shards)
    with tqdm(total=total, unit="clip", disable=None) as progress, logging_redirect_tqdm():
        for shard in shards:
            write_shard(shard, features, num_threads=threads, on_clip=progress.update)
