"""A built dataset, opened for random access."""

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

SHARD_END = 65536  # bytes; ArrayRecord pads its files to multiples of it


Example = dict[str, Any]


Place = tuple[str, int]  # a stored split, and a record's number in it


@dataclasses.dataclass(frozen=True)
class ClipDataset:
    """A dataset that `python -m tfds_builders` has built.

    Attributes:
        builder: Reads the records.
        label_names: By label id.
        num_clips: By split.
        metadata: What tfds_builders/README.md says is in `metadata.json`; of regrouped splits, what
            tells of their clips.
        places: Where the clips of regrouped splits are stored: split and number of each; None if
            the splits are the stored ones.
    """

    builder: tfds.core.DatasetBuilder
    label_names: tuple[str, ...]
    num_clips: dict[str, int]
    metadata: Mapping[str, Any]
    places: Mapping[str, Sequence[Place]] | None = None

    def source(self, split: str) -> Any:
        """Random access to the examples of a split, a dict each, the clips still encoded."""
        if not self.num_clips.get(split):
            held = [name for name, count in self.num_clips.items() if count]
            raise ValueError(
                f"split {split!r}: no clips in {self.builder.data_dir}, which holds {held}."
            )
        if self.places is None:
            return _Records(self.builder, split)
        return _Regrouped(self.builder, self.places[split])

    @functools.cached_property
    def content_sha256(self) -> dict[str, str]:
        """What tells it from another build, by stored split and of `metadata.json`.

        Of each shard name, size and both ends, where the first clip and the index of all lie: most
        of the clips aren't read.
        """
        info = self.builder.info
        stated = json.dumps(info.metadata or {}, sort_keys=True)
        found = {"metadata.json": hashlib.sha256(stated.encode()).hexdigest()}
        for split, stored in info.splits.items():
            found[split] = _shards_sha256([pathlib.Path(path) for path in stored.filepaths])
        return found

    @property
    def signers(self) -> dict[str, list[str]]:
        """The known signers of each split, sorted."""
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


class _Records:
    """A split's examples by number; says what can't be read, whatever TFDS raises."""

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        self._place = f"split {split!r} of {builder.data_dir}"
        with self._reading("its records"):
            self._examples = builder.as_data_source(split=split)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)  # by which Python knows the end of what it goes through
        with self._reading(f"record {index}"):
            return self._examples[index]

    @contextlib.contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise ValueError(
                f"{self._place}: {what} can't be read: {type(error).__name__}: {error}. The dataset"
                " has been damaged or removed since it was built. Checkpoints are as they were:"
                " build it again, or bring it back, and the same command goes on from the last."
            ) from error


class _Regrouped:
    """Examples from several stored splits by number."""

    def __init__(self, builder: tfds.core.DatasetBuilder, places: Sequence[Place]):
        self._places = places
        self._stored = {split: _Records(builder, split) for split in {split for split, _ in places}}

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        split, number = self._places[index]
        return self._stored[split][number]
