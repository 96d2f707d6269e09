"""A built dataset with random access to its records."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from dstadapter_jax.errors import UserError

SHARD_END = 65536  # bytes; ArrayRecord pads its files to multiples of it

Example = dict[str, Any]
Place = tuple[str, int]  # stored split and record number


@dataclasses.dataclass(frozen=True)
class ClipDataset:
    """A dataset that `python -m tfds_builders` has built.

    Attributes:
        builder: TFDS builder that reads the records.
        label_names: Label names by id.
        num_clips: Number of clips by split.
        metadata: Content of `metadata.json`, described in tfds_builders/README.md.
        places: Stored places of the clips of regrouped splits; None for the stored splits.
    """

    builder: tfds.core.DatasetBuilder
    label_names: tuple[str, ...]
    num_clips: dict[str, int]
    metadata: Mapping[str, Any]
    places: Mapping[str, Sequence[Place]] | None = None

    def source(self, split: str) -> Any:
        """Random access to a split's examples, dicts with encoded clips.

        Raises:
            UserError: The split has no clips.
        """
        if not self.num_clips.get(split):
            raise UserError(
                f"split {split!r} of {self.builder.data_dir}",
                expected="clips",
                found=f"none; splits with clips: {[s for s, n in self.num_clips.items() if n]}",
            )
        if self.places is None:
            return Records(self.builder, split)
        return _Regrouped(self.builder, self.places[split])

    @functools.cached_property
    def content_sha256(self) -> dict[str, str]:
        """Fingerprint of this build, by stored split and for `metadata.json`.

        It covers name, size and both ends of each shard, with the first clip and the index of all;
        most clips are not read.
        """
        info = self.builder.info
        stated = json.dumps(info.metadata or {}, sort_keys=True)
        found = {"metadata.json": hashlib.sha256(stated.encode()).hexdigest()}
        for split, stored in info.splits.items():
            found[split] = _shards_sha256([pathlib.Path(path) for path in stored.filepaths])
        return found

    @property
    def signers(self) -> dict[str, list[str]]:
        """Known signers of each split, sorted."""
        return self.metadata.get("signers", {})


def _shards_sha256(paths: Sequence[pathlib.Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(f"{path.name} {size} ".encode())
            for start in (0, max(size - SHARD_END, 0)):
                file.seek(start)
                digest.update(file.read(SHARD_END))
    return digest.hexdigest()


class Records:
    """Examples of a stored split by number; any error of TFDS becomes a `UserError`."""

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        self._where = f"split {split!r} of {builder.data_dir}"
        with self._reading("its records"):
            self._examples = builder.as_data_source(split=split)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)  # ends Python's iteration
        with self._reading(f"record {index}"):
            return self._examples[index]

    @contextlib.contextmanager
    def _reading(self, item: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise UserError(
                self._where,
                problem=f"{item} can't be read: {type(error).__name__}: {error}",
                advice="The dataset was damaged or removed after it was built. Checkpoints are"
                " unchanged: build or restore it, and the same command resumes the run.",
            ) from error


class _Regrouped:
    """Examples from several stored splits by number."""

    def __init__(self, builder: tfds.core.DatasetBuilder, places: Sequence[Place]):
        self._places = places
        self._stored = {split: Records(builder, split) for split in {split for split, _ in places}}

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        split, number = self._places[index]
        return self._stored[split][number]
