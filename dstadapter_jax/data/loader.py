"""From a built dataset to batches: random access by TFDS, order and threads by Grain."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import grain
import jax
import numpy as np

from dstadapter_jax.data.clip_dataset import ClipDataset, Example
from dstadapter_jax.data.preprocess import PreprocessConfig, preprocess
from dstadapter_jax.data.video.reader import ClipError, read_frames
from dstadapter_jax.data.views import REFERENCE_VIEWS, Views
from dstadapter_jax.parallel.hosts import any_process


class FrameReader:
    """Reads frames of one record of either storage, as `preprocess` asks for them.

    Attributes:
        indices: The frames that were read last.
    """

    def __init__(self, example: Example, decoder: str):
        self._example, self._decoder = example, decoder
        self.indices = np.zeros(0, np.int64)

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """Returns these frames, `(len(indices), H, W, 3)` uint8 RGB."""
        self.indices, example = indices, self._example
        if "frames" in example:
            return np.stack([_decode_jpeg(example, int(index)) for index in indices])
        first = int(example.get("first_frame", 0))  # where the file shows more than the sign
        indices, name = first + indices, decode_text(example["id"])
        return read_frames(example["video"], indices.tolist(), decoder=self._decoder, name=name)


def example_views(
    example: Example,
    cfg: PreprocessConfig,
    decoder: str,
    mode: str,
    rng: np.random.Generator | None,
    views: Views = REFERENCE_VIEWS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decodes and preprocesses one record of either storage, whatever it is for.

    Returns:
        Views and counts as `preprocess` gives them, and which frames were read.
    """
    read = FrameReader(example, decoder)
    num_frames = int(example["num_frames"])
    pixels, counts = preprocess(num_frames, read, cfg, mode, rng, views=views)
    return pixels, counts, read.indices


def clip_metadata(example: Example, indices: np.ndarray) -> dict[str, Any]:
    """What there is to say of a record of which these frames were read, but for the pixels."""
    return {
        "id": decode_text(example["id"]),
        "signer": decode_text(example["signer"]),
        "label": np.int32(example["label"]),
        "indices": indices,
    }


def _decode_jpeg(example: Example, index: int) -> np.ndarray:
    encoded = np.frombuffer(example["frames"][index], np.uint8)
    frame = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
    if frame is None:
        raise ClipError(decode_text(example["id"]), f"stored frame {index} is not a JPEG image")
    return frame


def decode_text(value: bytes | str) -> str:
    """A text feature of an example as a string."""
    return value.decode() if isinstance(value, bytes) else value


def train_clips(
    dataset: ClipDataset,
    cfg: PreprocessConfig,
    *,
    batch_size: int,
    num_epochs: int,
    seed: int,
    decoder: str,
) -> grain.MapDataset:
    """The clips of a training run in its order, shuffled anew each epoch, augmented when read.

    Every random choice comes from the seed and the clip's place in the run.

    Args:
        dataset: Its training split is used.
        cfg: What becomes of a clip.
        batch_size: An epoch is as many clips as fill batches of it.
        num_epochs: How often the split is gone through.
        seed: Of order and augmentation.
        decoder: For the `original` storages.

    Returns:
        Random access to `{"clip": (T, R, R, 3) uint8, "label": int32, "id": str, "signer": str,
        "indices": (T,) int64}`, `indices` being the frames taken.

    Raises:
        ValueError: Fewer clips than a batch.
    """
    source = dataset.source("train")
    if len(source) < batch_size:
        raise ValueError(
            f"a batch of {batch_size} clips needs as many in the train split, found {len(source)}."
            " Lower config.batch_size (per device) or config.gradient_accumulation_steps, or add"
            " clips."
        )

    def load(example: Example, rng: np.random.Generator) -> dict[str, Any]:
        views, _, indices = example_views(example, cfg, decoder, "train", rng)
        return {"clip": views[0], **clip_metadata(example, indices)}

    return _training_order(source, batch_size, seed).random_map(load).repeat(num_epochs)


class TrainBatches:
    """Iterator over a host's part of the training batches.

    Its state counts the clips of all hosts, so that any number of hosts can go on from it.
    """

    def __init__(self, batches: grain.DatasetIterator, rows: int, batch_size: int):
        self._batches, self._rows, self._batch_size = batches, rows, batch_size

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        return next(self._batches)

    def get_state(self) -> dict[str, int]:
        """How many clips were read, by all hosts together."""
        done = self._batches.get_state()["next_index"] // self._rows
        return {"next_index": done * self._batch_size}

    def set_state(self, state: dict[str, int]) -> None:
        """Goes on where `get_state` was."""
        done = state["next_index"] // self._batch_size
        self._batches.set_state({"next_index": done * self._rows})

    def close(self) -> None:
        """Ends the threads that read ahead."""
        self._batches.close()


def train_batches(
    dataset: ClipDataset,
    cfg: PreprocessConfig,
    *,
    batch_size: int,
    num_epochs: int,
    seed: int,
    decoder: str,
    num_threads: int,
    rows: Sequence[int] | None = None,
) -> TrainBatches:
    """Batches of `train_clips`, the last partial one of each epoch left out.

    They are the same for any number of threads and of hosts, and `set_state` goes on exactly where
    `get_state` was. A host reads the given rows of each batch and decodes no others.

    Returns:
        Iterator over `num_epochs` epochs of `{"clip": (B, T, R, R, 3) uint8, "label": (B,) int32}`,
        with B the number of rows: all `batch_size` unless told.
    """
    clips = train_clips(
        dataset,
        cfg,
        batch_size=batch_size,
        num_epochs=num_epochs,
        seed=seed,
        decoder=decoder,
    )
    own = np.arange(batch_size) if rows is None else np.asarray(rows)

    def own_clip(index: int) -> dict[str, Any]:
        batch, row = divmod(index, len(own))
        clip = clips[batch * batch_size + int(own[row])]
        return {name: clip[name] for name in ("clip", "label")}

    part = grain.MapDataset.range(len(clips) // batch_size * len(own)).map(own_clip)
    # Two batches ahead is enough to hide decoding, and bounds memory.
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * len(own))
    batches = iter(part.to_iter_dataset(options).batch(len(own), drop_remainder=True))
    return TrainBatches(batches, len(own), batch_size)


def _training_order(source: Any, batch_size: int, seed: int) -> grain.MapDataset:
    """The records of an epoch's whole batches, and by repetition those of the next ones."""
    whole = len(source) // batch_size * batch_size
    return grain.MapDataset.source(source).seed(seed).shuffle().slice(slice(0, whole))


def batch_ids(dataset: ClipDataset, step: int, *, batch_size: int, seed: int) -> list[str]:
    """The ids of the clips of the batch that `train_batches` gave for a step, counted from 1."""
    order = _training_order(dataset.source("train"), batch_size, seed).repeat()
    return [
        decode_text(order[place]["id"])
        for place in range((step - 1) * batch_size, step * batch_size)
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
    views: Views = REFERENCE_VIEWS,
) -> Iterator[dict[str, np.ndarray]]:
    """Every view of every clip of a split, in order, in batches of one static shape.

    Of N hosts each takes every N-th clip. All give the same number of batches, whatever their clips
    come to: those that are through go on with rows that don't count.

    Yields:
        `clip` (B, T, R, R, 3) uint8 and `label`; `id` and `signer`, as texts; `index`, the clip's
        place in the split; `count`, how many of the clip's views the row stands for: 0 in rows that
        fill up the last batch.
    """

    def load(numbered: tuple[int, Example]) -> list[dict[str, Any]]:
        index, example = numbered
        pixels, counts, _ = example_views(example, cfg, decoder, mode, None, views)
        texts = {name: np.str_(decode_text(example[name])) for name in ("id", "signer")}
        numbers = {"label": np.int32(example["label"]), "index": np.int64(index)}
        return [
            {"clip": view, "count": np.int64(count), **numbers, **texts}
            for view, count in zip(pixels, counts, strict=True)
        ]

    source = dataset.source(split)
    own = grain.MapDataset.range(jax.process_index(), len(source), jax.process_count())
    numbered = own.map(lambda index: (index, source[index]))
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * batch_size)
    clips = iter(numbered.map(load).to_iter_dataset(options))
    every = itertools.chain.from_iterable(clips)
    padding = {
        "clip": np.zeros((cfg.num_frames, cfg.resolution, cfg.resolution, 3), np.uint8),
        **{"label": np.int32(0), "index": np.int64(0), "count": np.int64(0)},
        **{"id": np.str_(), "signer": np.str_()},
    }
    try:
        while any_process(bool(rows := list(itertools.islice(every, batch_size)))):
            rows += [padding] * (batch_size - len(rows))
            yield {key: np.stack([row[key] for row in rows]) for key in padding}
    finally:
        clips.close()
