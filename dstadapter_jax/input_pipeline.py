"""From a built dataset to batches: random access by TFDS, order and threads by Grain."""

import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import grain
import numpy as np
import tensorflow_datasets as tfds

from dstadapter_jax.preprocess import PreprocessConfig, preprocess
from dstadapter_jax.video import ClipError, read_frames

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


def example_views(
    example: Example,
    cfg: PreprocessConfig,
    decoder: str,
    mode: str,
    rng: np.random.Generator | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Decodes and preprocesses one record of either storage; shapes as `preprocess` gives them."""
    read = _jpeg_reader(example) if "frames" in example else _video_reader(example, decoder)
    return preprocess(int(example["num_frames"]), read, cfg, mode, rng)


def _jpeg_reader(example: Example) -> Callable[[np.ndarray], np.ndarray]:
    def read(indices: np.ndarray) -> np.ndarray:
        return np.stack([_decode_jpeg(example, int(index)) for index in indices])

    return read


def _decode_jpeg(example: Example, index: int) -> np.ndarray:
    encoded = np.frombuffer(example["frames"][index], np.uint8)
    frame = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
    if frame is None:
        raise ClipError(_text(example["id"]), f"stored frame {index} is not a JPEG image")
    return frame


def _video_reader(example: Example, decoder: str) -> Callable[[np.ndarray], np.ndarray]:
    name = _text(example["id"])
    first = int(example.get("first_frame", 0))  # where the file shows more than the sign
    return lambda indices: read_frames(
        example["video"], (first + indices).tolist(), decoder=decoder, name=name
    )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def train_batches(
    dataset: ClipDataset,
    cfg: PreprocessConfig,
    *,
    batch_size: int,
    num_epochs: int,
    seed: int,
    decoder: str,
    num_threads: int,
) -> grain.DatasetIterator:
    """Shuffled, augmented training batches, the last partial one of each epoch left out.

    Every random choice comes from the seed and the clip's place in the run, so that the batches
    are the same for any number of threads, and `set_state` goes on exactly where `get_state` was.

    Returns:
        Iterator over `num_epochs` epochs of `{"clip": (B, T, R, R, 3) uint8, "label": (B,) int32}`.
    """
    source = dataset.source("train")
    steps = len(source) // batch_size
    if not steps:
        raise ValueError(
            f"a batch of {batch_size} clips needs as many in the train split, found {len(source)}."
            " Lower config.batch_size (per device) or add clips."
        )

    def load(example: Example, rng: np.random.Generator) -> dict[str, Any]:
        views, _ = example_views(example, cfg, decoder, "train", rng)
        return {"clip": views[0], "label": np.int32(example["label"])}

    clips = _training_order(source, batch_size, seed).random_map(load).repeat(num_epochs)
    # Two batches ahead is enough to hide decoding, and bounds memory.
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * batch_size)
    return iter(clips.to_iter_dataset(options).batch(batch_size, drop_remainder=True))


def _training_order(source: Any, batch_size: int, seed: int) -> grain.MapDataset:
    """The records of an epoch's whole batches, and by repetition those of the next ones."""
    whole = len(source) // batch_size * batch_size
    return grain.MapDataset.source(source).seed(seed).shuffle().slice(slice(0, whole))


def batch_ids(dataset: ClipDataset, step: int, *, batch_size: int, seed: int) -> list[str]:
    """The ids of the clips of the batch that `train_batches` gave for a step, counted from 1."""
    order = _training_order(dataset.source("train"), batch_size, seed).repeat()
    return [
        _text(order[place]["id"]) for place in range((step - 1) * batch_size, step * batch_size)
    ]


def view_batches(
    dataset: ClipDataset,
    split: str,
    cfg: PreprocessConfig,
    *,
    batch_size: int,
    mode: str,
    decoder: str,
    num_threads: int,
) -> Iterator[dict[str, np.ndarray]]:
    """Every view of every clip of a split, in order, in batches of one static shape.

    Yields:
        `clip` (B, T, R, R, 3) uint8 and `label`; `index`, the clip's place in the split; `count`,
        how many of the clip's views the row stands for: 0 in rows that fill up the last batch.
    """

    def load(numbered: tuple[int, Example]) -> list[dict[str, Any]]:
        index, example = numbered
        views, counts = example_views(example, cfg, decoder, mode, None)
        return [
            {
                "clip": view,
                "label": np.int32(example["label"]),
                "index": np.int64(index),
                "count": np.int64(count),
            }
            for view, count in zip(views, counts, strict=True)
        ]

    source = dataset.source(split)
    numbered = grain.MapDataset.range(len(source)).map(lambda index: (index, source[index]))
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * batch_size)
    clips = iter(numbered.map(load).to_iter_dataset(options))
    views = itertools.chain.from_iterable(clips)
    try:
        while rows := list(itertools.islice(views, batch_size)):
            padding = {key: np.zeros_like(value) for key, value in rows[0].items()}
            rows += [padding] * (batch_size - len(rows))
            yield {key: np.stack([row[key] for row in rows]) for key in padding}
    finally:
        clips.close()
