"""Evaluates a checkpoint: `python -m dstadapter_jax.evaluate --workdir DIR [--split test]`.

The last line on stdout is one JSON object, written to `DIR/eval_SPLIT.json` too; beside it go the
confusion matrix, `DIR/confusion_SPLIT.png`, and each clip's scores, `DIR/scores_SPLIT.npz`.
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
import sys
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from dstadapter_jax.command import expanded_path, main_with_messages
from dstadapter_jax.input_pipeline import SPLITS, ClipDataset, open_dataset, view_batches
from dstadapter_jax.plots import draw_confusion
from dstadapter_jax.recogniser import Recogniser
from dstadapter_jax.workdir import write_whole


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a model says of a split.

    Attributes:
        probabilities: `(clips, classes)`, the mean over a clip's views.
        labels: `(clips,)`, the true ids.
    """

    probabilities: np.ndarray
    labels: np.ndarray

    @property
    def predictions(self) -> np.ndarray:
        """The most probable ids, `(clips,)`."""
        return self.probabilities.argmax(axis=1)

    def metrics(self) -> dict[str, float]:
        """Top-1, top-5 and mean class accuracy as fractions; a class without clips counts 0."""
        ranked = np.argsort(-self.probabilities, axis=1, kind="stable")
        hits = ranked == self.labels[:, None]
        classes = self.probabilities.shape[1]
        right = np.bincount(self.labels, weights=hits[:, 0], minlength=classes)
        total = np.bincount(self.labels, minlength=classes)
        return {
            "top1": float(hits[:, 0].mean()),
            "top5": float(hits[:, :5].any(axis=1).mean()),
            "mean_class_accuracy": float((right / np.maximum(total, 1)).mean()),
        }


def score_split(recogniser: Recogniser, dataset: ClipDataset, split: str, mode: str) -> Scores:
    """Scores every clip of a split: softmax of each view, then the mean over views.

    Args:
        recogniser: Model and preprocessing.
        dataset: With the labels that the recogniser knows.
        split: `train`, `validation` or `test`.
        mode: Which views are taken: the reference's for `validation` or for `test`.
    """
    config = recogniser.config
    batches = view_batches(
        dataset,
        split,
        recogniser.preprocess,
        batch_size=config["batch_size"] * jax.device_count(),
        mode=mode,
        decoder=config["data"]["decoder"],
        num_threads=config["data"]["num_threads"],
    )
    num_clips = dataset.num_clips[split]
    sums = np.zeros((num_clips, len(dataset.label_names)))
    views = np.zeros(num_clips)
    labels = np.zeros(num_clips, np.int64)
    with tqdm(total=num_clips, desc=split, unit="clip", disable=None, leave=False) as progress:
        for batch in batches:
            real = batch["count"] > 0
            index, count = batch["index"][real], batch["count"][real]
            scores = recogniser.probabilities(batch["clip"])[real].astype(np.float64)
            np.add.at(sums, index, scores * count[:, None])
            np.add.at(views, index, count)
            labels[index] = batch["label"][real]
            progress.update(int(index[-1]) + 1 - progress.n)
    return Scores(sums / views[:, None], labels)


def evaluate(
    recogniser: Recogniser, workdir: pathlib.Path, split: str, data_dir: str = ""
) -> dict[str, Any]:
    """Evaluates on a split with the reference's test views and writes the results to `workdir`.

    Args:
        recogniser: Of the run that `workdir` holds.
        workdir: Where the results go.
        split: `train`, `validation` or `test`.
        data_dir: Where the dataset is now, if not where training found it.

    Returns:
        What `eval_SPLIT.json` holds.
    """
    data = recogniser.config["data"]
    dataset = open_dataset(data["name"], data_dir or data["dir"])
    _check_labels(recogniser.label_names, dataset)
    scores = score_split(recogniser, dataset, split, mode="test")
    result = scores.metrics() | {
        "num_clips": len(scores.labels),
        "split": split,
        "step": recogniser.step,
        "views": "3 crops x 1 clip",
        "dataset": data["name"],
    }
    np.savez(workdir / f"scores_{split}.npz", **dataclasses.asdict(scores))
    write_whole(workdir / f"eval_{split}.json", json.dumps(result) + "\n")
    draw_confusion(
        workdir / f"confusion_{split}.png", scores.labels, scores.predictions, dataset.label_names
    )
    return result


def _check_labels(trained_on: tuple[str, ...], dataset: ClipDataset) -> None:
    pairs = itertools.zip_longest(trained_on, dataset.label_names, fillvalue="none")
    for label, (expected, found) in enumerate(pairs):
        if expected != found:
            raise ValueError(
                f"{dataset.builder.data_dir}: its labels aren't those that the run was trained on:"
                f" label {label}: expected {expected!r}, found {found!r}."
            )


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m dstadapter_jax.evaluate", description=__doc__)
    parser.add_argument("--workdir", type=expanded_path, required=True, help="of a run")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--step", default="best", help="best (by validation), last, or a number")
    parser.add_argument("--data_dir", default="", help="where the dataset is, if it has moved")
    parser.add_argument("--backbone", default="", help="where its file is, if it has moved")
    args = parser.parse_args(argv)
    recogniser = Recogniser.load(args.workdir, args.step, args.backbone)
    print(json.dumps(evaluate(recogniser, args.workdir, args.split, args.data_dir)))
    return 0


if __name__ == "__main__":
    sys.exit(main_with_messages(main))
