"""Batches of a built dataset: random access by TFDS, order and threads by Grain."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import jax
import numpy as np

from dstadapter_jax.data.clip_dataset import ClipDataset, Example
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.data.records import clip_metadata, decode_text, example_views
from dstadapter_jax.data.views import REFERENCE_VIEWS, Views
from dstadapter_jax.errors import UserError
from dstadapter_jax.parallel.hosts import any_process


def train_clips(
    dataset: ClipDataset,
    cfg: PreprocessConfig,
    *,
    batch_size: int,
    num_epochs: int,
    seed: int,
    decoder: str,
) -> grain.MapDataset:
    """Training clips in the order of a run, shuffled in each epoch, augmented when read.

    All random choices depend on the seed and a clip's position in the run only.

    Args:
        dataset: Dataset with a training split.
        cfg: Preprocessing settings.
        batch_size: Clips per batch; an epoch has whole batches only.
        num_epochs: Number of epochs.
        seed: Seed of order and augmentation.
        decoder: Decoder of the `original` storages.

    Returns:
        Random access to `{"clip": (T, R, R, 3) uint8, "label": int32, "id": str, "signer": str,
        "indices": (T,) int64}`, with the numbers of the sampled frames.

    Raises:
        UserError: The split has fewer clips than a batch.
    """
    source = dataset.source("train")
    if len(source) < batch_size:
        raise UserError(
            "train split",
            expected=f"at least {batch_size} clips, one batch",
            found=len(source),
            advice="Lower config.batch_size (per device) or config.gradient_accumulation_steps, or"
            " add clips.",
        )

    def load(example: Example, rng: np.random.Generator) -> dict[str, Any]:
        views, _, indices = example_views(example, cfg, decoder, "train", rng)
        return {"clip": views[0], **clip_metadata(example, indices)}

    return _training_order(source, batch_size, seed).random_map(load).repeat(num_epochs)


class TrainBatches:
    """Iterator over a host's part of the training batches.

    Its state counts the clips of all hosts, so any number of hosts can resume from it.
    """

    def __init__(self, batches: grain.DatasetIterator, rows: int, batch_size: int):
        self._batches, self._rows, self._batch_size = batches, rows, batch_size

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        return next(self._batches)

    def get_state(self) -> dict[str, int]:
        """Number of clips read by all hosts."""
        done = self._batches.get_state()["next_index"] // self._rows
        return {"next_index": done * self._batch_size}

    def set_state(self, state: dict[str, int]) -> None:
        """Resume from a state of `get_state`."""
        done = state["next_index"] // self._batch_size
        self._batches.set_state({"next_index": done * self._rows})

    def close(self) -> None:
        """Stop the prefetching threads."""
        self._batches.close()


def train_batches(
    clips: grain.MapDataset,
    *,
    batch_size: int,
    num_threads: int,
    rows: Sequence[int] | None = None,
) -> TrainBatches:
    """Batches of `train_clips` with the same batch size.

    They are the same for any number of threads and hosts, and `set_state` resumes exactly at
    `get_state`. A host decodes only the given rows of each batch.

    Returns:
        Iterator over `{"clip": (B, T, R, R, 3) uint8, "label": (B,) int32}`, with B the number of
        rows, by default `batch_size`.
    """
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
    """Records of an epoch's whole batches; repeated for further epochs."""
    whole = len(source) // batch_size * batch_size
    return grain.MapDataset.source(source).seed(seed).shuffle().slice(slice(0, whole))


def batch_ids(dataset: ClipDataset, step: int, *, batch_size: int, seed: int) -> list[str]:
    """Ids of the clips in the batch of a step, counted from 1."""
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
    """All views of all clips of a split, in order, in batches of one static shape.

    Each of N hosts takes every N-th clip. All yield the same number of batches: hosts without
    remaining clips yield padding rows.

    Yields:
        `clip` (B, T, R, R, 3) uint8, `label`, `id`, `signer`, `index`, the clip's position in the
        split, and `count`, the number of the clip's views that the row represents: 0 for padding.
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
