"""The part of building a dataset that is the same for all: shards, here or on Beam's workers."""

import abc
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_builder import FileReaderBuilder
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from dstadapter_jax.errors import UserError
from tfds_builders import clip_examples
from tfds_builders.clip_examples import Clip
from tfds_builders.clip_shards import LeftOut, Shard, write_shard

CLIPS_PER_SHARD = 256  # about 400 MB of frames
SHARDS = ".shards"  # beside the versions of a dataset: what is finished while it is built


class ClipDatasetBuilder(FileReaderBuilder):
    """Builds out of clips; a build that was broken off is gone on with, shard by shard.

    Shards lie in a folder of their own until all are whole, so that nothing reads them before.
    """

    @abc.abstractmethod
    def _plan(self, folder: Path) -> tuple[Mapping[str, Sequence[Clip]], LeftOut]:
        """Reads what there is to build, and sets label names and metadata, but `split_metadata`.

        Args:
          folder: the user's.

        Returns:
          The clips of each split, and those that are left out already.

        Raises:
          SourceError: something is wrong with the folder or the lists.
        """

    def _storage(self) -> str:
        """`frames` or `original`."""
        return self.builder_config.name

    def _download_and_prepare(
        self,
        dl_manager: tfds.download.DownloadManager,
        download_config: tfds.download.DownloadConfig,
    ) -> None:
        splits, left_out = self._plan(Path(dl_manager.manual_dir))
        folder = Path(self.data_path).parent / SHARDS
        folder.mkdir(exist_ok=True)
        shards = {split: self._shards(split, clips, folder) for split, clips in splits.items()}
        every = [shard for of_split in shards.values() for shard in of_split]
        if download_config.beam_options:
            from tfds_builders import beam_shards  # Beam is an extra

            beam_shards.write(every, self.info.features, download_config.beam_options)
        else:
            _write(every, self.info.features)
        infos = [self._split_info(split, of, left_out) for split, of in shards.items()]
        left_out.check()
        held = {
            split: [clip for clip in clips if clip.id not in left_out.reasons[split]]
            for split, clips in splits.items()
        }
        labels = self.info.features["label"].names
        self.info.metadata.update(clip_examples.split_metadata(held, labels))
        for shard in every:
            shard.path.rename(self.data_path / shard.path.name)
        # A worker that outlived a killed build may be at it still, and leave or remove a draft.
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
        self, split: str, shards: Sequence[Shard], left_out: LeftOut
    ) -> tfds.core.SplitInfo:
        """Describes a written split, and takes in what it had to leave out."""
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
            for clip_id, reason in result["left_out"].items():
                left_out.add(split, clip_id, clips[clip_id].label, clips[clip_id].signer, reason)
        return tfds.core.SplitInfo(
            name=split,
            shard_lengths=lengths,
            num_bytes=sum(shard.path.stat().st_size for shard in shards),
            filename_template=self._get_filename_template(split),
        )


def _write(shards: Sequence[Shard], features: tfds.features.FeaturesDict) -> None:
    """Writes one shard after the other, each with all cores."""
    threads = os.cpu_count() or 1
    total = sum(len(shard.clips) for shard in shards)
    with tqdm(total=total, unit="clip", disable=None) as progress, logging_redirect_tqdm():
        for shard in shards:
            write_shard(shard, features, num_threads=threads, on_clip=progress.update)
