"""Datasets that `python -m tfds_builders` has built, opened for random access."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

SPLITS = ("train", "validation", "test")
Example = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ClipDataset:
    """A dataset that `python -m tfds_builders` has built.

    Attributes:
        builder: Reads the records.
        label_names: By label id.
        num_clips: By split.
    """

    builder: tfds.core.DatasetBuilder
    label_names: tuple[str, ...]
    num_clips: dict[str, int]

    def source(self, split: str) -> Any:
        """Random access to the examples of a split, a dict each, the clips still encoded."""
        if not self.num_clips.get(split):
            held = [name for name, count in self.num_clips.items() if count]
            raise ValueError(
                f"split {split!r}: no clips in {self.builder.data_dir}, which holds {held}."
            )
        return _Records(self.builder, split)


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


def open_dataset(name: str, data_dir: str) -> ClipDataset:
    """Opens the newest version of a dataset such as `recordings/frames`.

    Raises:
        ValueError: It hasn't been built there.
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
    return ClipDataset(
        builder=builder,
        label_names=tuple(builder.info.features["label"].names),
        num_clips={name: info.num_examples for name, info in builder.info.splits.items()},
    )
