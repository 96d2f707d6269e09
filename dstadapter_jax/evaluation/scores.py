"""Scores of a model on the clips of a split, and their metrics."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np
from tqdm import tqdm

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.loader import view_batches
from dstadapter_jax.data.views import REFERENCE_VIEWS, Views
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.parallel.hosts import all_gather, all_gather_json, is_primary

TOP1, TOP5, MISS = OUTCOMES = range(3)  # rank of a clip's true label: first, 2 to 5, lower

MAX_NAMED = 5  # clips in a message

Texts = dict[int, tuple[str, str]]  # id and signer by index of the clip
_no_texts = functools.partial(np.zeros, 0, np.str_)


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores of a model on the clips of a split.

    Attributes:
        probabilities: `(clips, classes)`, means over the views of a clip.
        labels: `(clips,)` true ids.
        ids: `(clips,)` names of the clips.
        signers: `(clips,)` names, '' where unknown.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    ids: np.ndarray = dataclasses.field(default_factory=_no_texts)
    signers: np.ndarray = dataclasses.field(default_factory=_no_texts)

    @property
    def predictions(self) -> np.ndarray:
        """Ids of the most probable labels, `(clips,)`."""
        return self.probabilities.argmax(axis=1)

    @functools.cached_property
    def outcomes(self) -> np.ndarray:
        """Rank of the true label as one of `OUTCOMES`, `(clips,)`."""
        ranked = np.argsort(-self.probabilities, axis=1, kind="stable")
        hits = ranked[:, :5] == self.labels[:, None]
        return np.select([hits[:, 0], hits.any(axis=1)], [TOP1, TOP5], MISS)

    def metrics(
        self, missing: Sequence[int] | np.ndarray = (), num_unlisted: int = 0
    ) -> dict[str, float]:
        """Top-1, top-5 and mean class accuracy as fractions; a class without clips counts as 0.

        Args:
            missing: True ids of further clips, which count as wrong.
            num_unlisted: Number of further clips with unknown labels, which are wrong for top-1
                and top-5, and in no class.
        """
        classes = self.probabilities.shape[1]
        first = self.outcomes == TOP1
        correct = np.bincount(self.labels, weights=first, minlength=classes)
        labels = np.concatenate([self.labels, np.asarray(missing, np.int64)])
        totals = np.bincount(labels, minlength=classes)
        num_clips = len(labels) + num_unlisted
        return {
            "top1": float(first.sum() / num_clips),
            "top5": float((self.outcomes != MISS).sum() / num_clips),
            "mean_class_accuracy": float((correct / np.maximum(totals, 1)).mean()),
        }


def score_split(
    recognizer: Recognizer,
    dataset: ClipDataset,
    split: str,
    mode: str,
    views: Views = REFERENCE_VIEWS,
) -> Scores:
    """Scores every clip of a split: the mean of the softmax probabilities of its views.

    Args:
        recognizer: Model and preprocessing.
        dataset: Dataset with the labels of the recognizer.
        split: `train`, `validation` or `test`.
        mode: `validation` for its single view, or `test` for `views`.
        views: Views of a clip in mode `test`.

    Raises:
        FloatingPointError: Some probabilities are not finite, so no accuracy is defined.
    """
    config = recognizer.config
    batches = view_batches(
        dataset,
        split,
        recognizer.preprocess,
        batch_size=config["batch_size"] * jax.local_device_count(),
        mode=mode,
        decoder=config["data"]["decoder"],
        num_threads=config["data"]["num_threads"],
        views=views,
    )
    num_clips = dataset.num_clips[split]
    totals = _Totals(num_clips, len(dataset.label_names))
    texts: Texts = {}
    hidden = None if is_primary() else True  # None: hidden where there is no terminal
    with tqdm(total=num_clips, desc=split, unit="clip", disable=hidden, leave=False) as progress:
        for batch in batches:
            texts |= _pop_texts(batch)
            scores = recognizer.probabilities(batch.pop("clip"))
            # Every host gets all rows, so that all hosts compute the same metrics.
            last = totals.add(all_gather(batch | {"scores": scores}))
            progress.update(last + 1 - progress.n)
    ids, signers = _gather_texts(texts, num_clips)
    probabilities = totals.sums / totals.counts[:, None]
    _check_finite(probabilities, ids, split)
    return Scores(probabilities, totals.labels, ids, signers)


class _Totals:
    """Sums over the views of each clip."""

    def __init__(self, num_clips: int, num_classes: int):
        self.sums = np.zeros((num_clips, num_classes))
        self.counts = np.zeros(num_clips)
        self.labels = np.zeros(num_clips, np.int64)

    def add(self, rows: dict[str, np.ndarray]) -> int:
        """Adds rows of views and returns the largest index of their clips."""
        rows = {name: values[rows["count"] > 0] for name, values in rows.items()}
        index, count = rows["index"], rows["count"]
        np.add.at(self.sums, index, rows["scores"].astype(np.float64) * count[:, None])
        np.add.at(self.counts, index, count)
        self.labels[index] = rows["label"]
        return int(index.max())


def _pop_texts(batch: dict[str, np.ndarray]) -> Texts:
    """Removes ids and signers from a batch: arrays of text can't be gathered from devices."""
    present = batch["count"] > 0
    ids, signers = (batch.pop(name)[present].tolist() for name in ("id", "signer"))
    indices = batch["index"][present].tolist()
    return dict(zip(indices, zip(ids, signers, strict=True), strict=True))


def _gather_texts(texts: Texts, num_clips: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and signers of all clips, `(clips,)` each, from all hosts."""
    gathered = dict(item for host in all_gather_json(list(texts.items())) for item in host)
    ids, signers = zip(*(gathered[index] for index in range(num_clips)), strict=True)
    return np.array(ids, np.str_), np.array(signers, np.str_)


def _check_finite(probabilities: np.ndarray, ids: np.ndarray, split: str) -> None:
    if (invalid := np.flatnonzero(~np.isfinite(probabilities).all(axis=1))).size:
        names = ", ".join(ids[invalid[:MAX_NAMED]])
        raise FloatingPointError(
            f"probabilities of {invalid.size} of the {len(ids)} clips in split {split!r} are not"
            f" finite: {names}{', …' if invalid.size > MAX_NAMED else ''}"
        )
