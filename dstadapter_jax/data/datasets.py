"""Datasets that `python -m tfds_builders` has built, opened for random access."""

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
from tqdm import tqdm

SPLITS = ("train", "validation", "test")
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


def open_dataset(name: str, data_dir: str, test_signer: str = "") -> ClipDataset:
    """Opens the newest version of a dataset such as `recordings/frames`.

    Args:
        name: `DATASET/CONFIG`.
        data_dir: The folder that it was built in.
        test_signer: Whose clips are the test, for all clips to be regrouped as in `leave_one_out`;
            empty for the splits as they were built.

    Raises:
        ValueError: It hasn't been built there, or can't be regrouped so.
    """
    if name.count("/") != 1:
        raise ValueError(f"config.data.name: expected DATASET/CONFIG, found {name!r}.")
    build = f"python -m tfds_builders {name} --manual_dir SRC --data_dir OUT"
    if not data_dir:
        raise ValueError(
            f"config.data.dir is empty: expected the folder that `{build}` wrote to."
            " Pass --config.data.dir=OUT."
        )
    folder = pathlib.Path(data_dir).expanduser() / name
    versions = [path.parent for path in folder.glob("*.*.*/dataset_info.json")]
    if not versions:
        raise ValueError(
            f"config.data.dir: no built dataset in {folder}. Build it with `{build}`, or say where"
            " it is: --config.data.dir=OUT in training, --data_dir OUT in evaluation."
        )
    newest = max(versions, key=lambda path: tfds.core.Version(path.name))
    builder = tfds.builder_from_directory(newest)
    dataset = ClipDataset(
        builder=builder,
        label_names=tuple(builder.info.features["label"].names),
        num_clips={name: info.num_examples for name, info in builder.info.splits.items()},
        metadata=builder.info.metadata or {},
    )
    return leave_one_out(dataset, test_signer) if test_signer else dataset


def all_signers(dataset: ClipDataset) -> list[str]:
    """The known signers of all splits, sorted."""
    return sorted(set().union(*dataset.signers.values()))


def leave_one_out(dataset: ClipDataset, test_signer: str) -> ClipDataset:
    """Regroups a dataset's clips: one signer is the test, the next one validation.

    The next one in the sorted order, and the first one after the last: in turn each signer is once
    the test and once validation. All others' clips are for training, whatever split they were in.

    Raises:
        ValueError: There is no such signer, there are fewer than three, or clips lack theirs.
    """
    signers, where = all_signers(dataset), dataset.builder.data_dir
    known = ", ".join(signers) or "none"
    if len(signers) < len(SPLITS):
        raise ValueError(
            f"{where}: leaving one signer out needs at least {len(SPLITS)}, to train, validate and"
            f" test on, found {known}."
        )
    if test_signer not in signers:
        raise ValueError(
            f"config.data.test_signer: expected one of {known}, whose clips are in {where}, found"
            f" {test_signer!r}."
        )
    following = signers[(signers.index(test_signer) + 1) % len(signers)]
    split_of = dict.fromkeys(signers, "train") | {following: "validation", test_signer: "test"}
    places: dict[str, list[Place]] = {split: [] for split in SPLITS}
    for stored, of_clips in _signers_of_clips(str(where)).items():
        for number, signer in enumerate(of_clips):
            places[_split(split_of, signer, where)].append((stored, number))
    return dataclasses.replace(
        dataset,
        num_clips={split: len(clips) for split, clips in places.items()},
        metadata=_regroup(dataset.metadata, split_of, where),
        places=places,
    )


def _split(split_of: Mapping[str, str], signer: str, where: str) -> str:
    if signer not in split_of:
        raise ValueError(
            f"{where}: leaving one signer out needs the signer of every clip, and of some it isn't"
            " recorded. Name them in the lists that it is built of, and build it again."
        )
    return split_of[signer]


def _regroup(
    metadata: Mapping[str, Any], split_of: Mapping[str, str], where: str
) -> dict[str, Any]:
    """Who is where, and the clips that are lacking, by the new splits."""
    if any(metadata.get("not_named", {}).values()):
        _split(split_of, "", where)
    regrouped: dict[str, Any] = {
        "signers": {split: [s for s, of in split_of.items() if of == split] for split in SPLITS}
    }
    for name in ("missing", "left_out_labels", "left_out_signers"):
        regrouped[name] = {split: {} for split in SPLITS}
        for stored, clips in metadata.get(name, {}).items():
            signer_of = metadata.get("left_out_signers", {}).get(stored, {})
            for clip, value in clips.items():
                regrouped[name][_split(split_of, signer_of.get(clip, ""), where)][clip] = value
    return regrouped


@functools.lru_cache(maxsize=1)  # for the next fold of the same dataset
def _signers_of_clips(folder: str) -> dict[str, list[str]]:
    """Who signs each clip, by stored split. Reads every record once, as an epoch of training does.

    A second of 300 MB, and pixels aren't decoded.
    """
    builder = tfds.builder_from_directory(folder)
    total = sum(info.num_examples for info in builder.info.splits.values())
    signers: dict[str, list[str]] = {}
    with tqdm(total=total, desc="signers", unit="clip", disable=None, leave=False) as progress:
        for split in builder.info.splits:
            records, signers[split] = _Records(builder, split), []
            for number in range(len(records)):
                signers[split].append(records[number]["signer"].decode())
                progress.update()
    return signers
