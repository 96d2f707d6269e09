"""Evaluates a checkpoint: `python -m dstadapter_jax.evaluate --workdir DIR [--split test]`.

The last line on stdout is one JSON object, written to `DIR/eval_SPLIT.json` too; beside it go the
confusion matrix, `DIR/confusion_SPLIT.png`, and each clip's scores, `DIR/scores_SPLIT.npz`. An
adapter file does in place of a run: `--adapter signs.safetensors --data_dir DATA --output DIR`.
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from dstadapter_jax.clip_dataset import SPLITS, ClipDataset, open_dataset
from dstadapter_jax.command import expanded_path, main_with_messages
from dstadapter_jax.distributed import gather, is_primary
from dstadapter_jax.input_pipeline import view_batches
from dstadapter_jax.plots import draw_confusion
from dstadapter_jax.recogniser import Recogniser
from dstadapter_jax.recogniser_arguments import add_arguments, load_recogniser, parse
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

    def metrics(self, left_out: Sequence[int] = ()) -> dict[str, float]:
        """Top-1, top-5 and mean class accuracy as fractions; a class without clips counts 0.

        Args:
            left_out: True ids of further clips, that count as wrong: those that the split lists
                and the dataset lacks.
        """
        ranked = np.argsort(-self.probabilities, axis=1, kind="stable")
        hits = ranked == self.labels[:, None]
        classes = self.probabilities.shape[1]
        right = np.bincount(self.labels, weights=hits[:, 0], minlength=classes)
        every = np.concatenate([self.labels, np.asarray(left_out, np.int64)])
        total = np.bincount(every, minlength=classes)
        return {
            "top1": float(hits[:, 0].sum() / len(every)),
            "top5": float(hits[:, :5].any(axis=1).sum() / len(every)),
            "mean_class_accuracy": float((right / np.maximum(total, 1)).mean()),
        }


def left_out_labels(dataset: ClipDataset, split: str) -> list[int]:
    """Label ids of the clips that a split lists and the dataset lacks: missing or damaged files.

    Clips that were never published don't count: nobody can have them.

    Raises:
        ValueError: The dataset doesn't tell the labels of all of them.
    """
    metadata = dataset.builder.info.metadata or {}
    reasons = metadata.get("missing", {}).get(split, {})
    labels = metadata.get("left_out_labels", {}).get(split, {})
    if reasons.keys() != labels.keys():
        raise ValueError(
            f"{dataset.builder.data_dir}/metadata.json: left_out_labels of {split}: expected the"
            f" {len(reasons)} clips of `missing`, found {len(labels)}. Build the dataset again."
        )
    names = dataset.builder.info.features["label"]
    return [names.str2int(label) for label in labels.values()]


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
        batch_size=config["batch_size"] * jax.local_device_count(),
        mode=mode,
        decoder=config["data"]["decoder"],
        num_threads=config["data"]["num_threads"],
    )
    num_clips = dataset.num_clips[split]
    sums = np.zeros((num_clips, len(dataset.label_names)))
    views = np.zeros(num_clips)
    labels = np.zeros(num_clips, np.int64)
    hidden = None if is_primary() else True  # None: where there is no terminal
    with tqdm(total=num_clips, desc=split, unit="clip", disable=hidden, leave=False) as progress:
        for batch in batches:
            scores = recogniser.probabilities(batch.pop("clip"))
            # All hosts' rows on all hosts, so that all come to the same metrics.
            rows = gather(batch | {"scores": scores})
            rows = {name: values[rows["count"] > 0] for name, values in rows.items()}
            index, count = rows["index"], rows["count"]
            np.add.at(sums, index, rows["scores"].astype(np.float64) * count[:, None])
            np.add.at(views, index, count)
            labels[index] = rows["label"]
            progress.update(int(index.max()) + 1 - progress.n)
    return Scores(sums / views[:, None], labels)


def evaluate(
    recogniser: Recogniser, workdir: pathlib.Path, split: str, data_dir: str = ""
) -> dict[str, Any]:
    """Evaluates on a split with the reference's test views and writes the results to `workdir`.

    Args:
        recogniser: Of the run that `workdir` holds.
        workdir: Where the results go, written by the first of many processes.
        split: `train`, `validation` or `test`.
        data_dir: Where the dataset is now, if not where training found it.

    Returns:
        What `eval_SPLIT.json` holds. `num_clips` is what the accuracies are fractions of; of these,
        `num_left_out` are missing or damaged and count as wrong. `num_never_published` more are
        listed and nobody can have them: they don't count.
    """
    data = recogniser.config["data"]
    dataset = open_dataset(data["name"], data_dir or data["dir"])
    _check_labels(recogniser.label_names, dataset)
    scores = score_split(recogniser, dataset, split, mode="test")
    left_out = left_out_labels(dataset, split)
    metadata = dataset.builder.info.metadata or {}
    result = scores.metrics(left_out) | {
        "num_clips": len(scores.labels) + len(left_out),
        "num_left_out": len(left_out),
        "num_never_published": len(metadata.get("never_published", {}).get(split, [])),
        "split": split,
        "step": recogniser.step,
        "views": "3 crops x 1 clip",
        "dataset": data["name"],
    }
    if not is_primary():
        return result
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
    add_arguments(parser)
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--data_dir", default="", help="where the dataset is, if it has moved")
    parser.add_argument(
        "--output", type=expanded_path, metavar="DIR", help="for the results, if not the workdir"
    )
    args = parse(parser, argv)
    output = args.output or args.workdir
    if args.adapter and not (args.data_dir and output):
        parser.error("--adapter needs --data_dir and --output: an adapter file names no folders")
    recogniser = load_recogniser(args)
    output.mkdir(parents=True, exist_ok=True)
    print(json.dumps(evaluate(recogniser, output, args.split, args.data_dir)))
    return 0


if __name__ == "__main__":
    sys.exit(main_with_messages(main))
