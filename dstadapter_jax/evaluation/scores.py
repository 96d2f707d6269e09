"""What a model says of a split's clips, and its metrics."""

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

TOP1, TOP5, MISS = OUTCOMES = range(3)  # where a clip's true label is ranked

NAMED = 5  # clips in a message


def _no_texts() -> np.ndarray:
    return np.zeros(0, np.str_)


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a model says of a split's clips.

    Attributes:
        probabilities: `(clips, classes)`, the mean over a clip's views.
        labels: `(clips,)`, the true ids.
        ids: `(clips,)`, the clips' names; none in the files of older versions.
        signers: `(clips,)`, '' where unknown; none in the files of older versions.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    ids: np.ndarray = dataclasses.field(default_factory=_no_texts)
    signers: np.ndarray = dataclasses.field(default_factory=_no_texts)

    @property
    def predictions(self) -> np.ndarray:
        """The most probable ids, `(clips,)`."""
        return self.probabilities.argmax(axis=1)

    @functools.cached_property
    def outcomes(self) -> np.ndarray:
        """Where the true label is: `TOP1`, or else `TOP5`, or else `MISS`; `(clips,)`."""
        ranked = np.argsort(-self.probabilities, axis=1, kind="stable")
        hits = ranked[:, :5] == self.labels[:, None]
        return np.select([hits[:, 0], hits.any(axis=1)], [TOP1, TOP5], MISS)

    def metrics(
        self, left_out: Sequence[int] | np.ndarray = (), num_unlisted: int = 0
    ) -> dict[str, float]:
        """Top-1, top-5 and mean class accuracy as fractions; a class without clips counts 0.

        Args:
            left_out: True ids of further clips, that count as wrong: those that the split lists
                and the dataset lacks.
            num_unlisted: How many more there are whose labels no list tells: wrong for top-1 and
                top-5, and in no class.
        """
        classes = self.probabilities.shape[1]
        first = self.outcomes == TOP1
        right = np.bincount(self.labels, weights=first, minlength=classes)
        every = np.concatenate([self.labels, np.asarray(left_out, np.int64)])
        total = np.bincount(every, minlength=classes)
        return {
            "top1": float(first.sum() / (len(every) + num_unlisted)),
            "top5": float((self.outcomes != MISS).sum() / (len(every) + num_unlisted)),
            "mean_class_accuracy": float((right / np.maximum(total, 1)).mean()),
        }


def score_split(
    recognizer: Recognizer,
    dataset: ClipDataset,
    split: str,
    mode: str,
    views: Views = REFERENCE_VIEWS,
) -> Scores:
    """Scores every clip of a split: softmax of each view, then the mean over views.

    Args:
        recognizer: Model and preprocessing.
        dataset: With the labels that the recognizer knows.
        split: `train`, `validation` or `test`.
        mode: Which views are taken: the one for `validation`, or `views` for `test`.
        views: Of the latter.

    Raises:
        FloatingPointError: Of some clips the model says what isn't finite: no accuracy is one then.
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
    sums = np.zeros((num_clips, len(dataset.label_names)))
    counts = np.zeros(num_clips)
    labels = np.zeros(num_clips, np.int64)
    texts: dict[int, tuple[str, str]] = {}  # id and signer; arrays of texts can't be gathered
    hidden = None if is_primary() else True  # None: where there is no terminal
    with tqdm(total=num_clips, desc=split, unit="clip", disable=hidden, leave=False) as progress:
        for batch in batches:
            own = batch["count"] > 0
            ids, signers = (batch.pop(name)[own].tolist() for name in ("id", "signer"))
            texts |= dict(
                zip(batch["index"][own].tolist(), zip(ids, signers, strict=True), strict=True)
            )
            scores = recognizer.probabilities(batch.pop("clip"))
            # All hosts' rows on all hosts, so that all come to the same metrics.
            rows = all_gather(batch | {"scores": scores})
            rows = {name: values[rows["count"] > 0] for name, values in rows.items()}
            index, count = rows["index"], rows["count"]
            np.add.at(sums, index, rows["scores"].astype(np.float64) * count[:, None])
            np.add.at(counts, index, count)
            labels[index] = rows["label"]
            progress.update(int(index.max()) + 1 - progress.n)
    every = dict(item for of_host in all_gather_json(list(texts.items())) for item in of_host)
    ids, signers = zip(*(every[place] for place in range(num_clips)), strict=True)
    probabilities = sums / counts[:, None]
    if (blown_up := np.flatnonzero(~np.isfinite(probabilities).all(axis=1))).size:
        raise FloatingPointError(
            f"the probabilities of {blown_up.size} of the {num_clips} clips in split {split!r}"
            f" aren't finite: {', '.join(ids[place] for place in blown_up[:NAMED])}"
            f"{', …' if blown_up.size > NAMED else ''}"
        )
    return Scores(probabilities, labels, np.array(ids, np.str_), np.array(signers, np.str_))
