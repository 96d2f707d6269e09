"""Evaluation of a model on a split, and comparison of two evaluated runs."""

import itertools
import json
import pathlib
from typing import Any

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.views import REFERENCE_VIEWS, Views
from dstadapter_jax.errors import UserError
from dstadapter_jax.evaluation import bootstrap
from dstadapter_jax.evaluation.calibration import Calibration
from dstadapter_jax.evaluation.comparison import Comparison
from dstadapter_jax.evaluation.confusion_plot import draw_confusion
from dstadapter_jax.evaluation.report.comparison_page import render_comparison
from dstadapter_jax.evaluation.report.evaluation_page import Evaluation, render_evaluation
from dstadapter_jax.evaluation.report.provenance import clips_sha256
from dstadapter_jax.evaluation.results import EvaluationResult, MissingClips
from dstadapter_jax.evaluation.scores import score_split
from dstadapter_jax.evaluation.signers import shared_signers, signer_accuracies
from dstadapter_jax.files.atomic import atomic_write
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.parallel.hosts import is_primary


def evaluate(
    recognizer: Recognizer,
    workdir: pathlib.Path,
    split: str,
    data_dir: str = "",
    views: Views = REFERENCE_VIEWS,
) -> dict[str, Any]:
    """Evaluates on a split and writes the results to `workdir`.

    Args:
        recognizer: The model.
        workdir: Folder for the results, which the first of several processes writes.
        split: `train`, `validation` or `test`.
        data_dir: TFDS data directory, if the dataset moved since training.
        views: Views of a clip that are averaged.

    Returns:
        Contents of `eval_SPLIT.json`. Accuracies are shares of `num_clips`; `num_missing` of these
        are missing, damaged or not listed, and count as wrong. `num_unavailable` further clips
        were never published and do not count.

    Raises:
        UserError: Labels differ, or scores are not finite; nothing is written.
    """
    data = recognizer.config["data"]
    # The config of an adapter file has no `test_signer`.
    dataset = open_dataset(data["name"], data_dir or data["dir"], data.get("test_signer", ""))
    _check_labels(recognizer.label_names, dataset)
    try:
        scores = score_split(recognizer, dataset, split, "test", views)
    except FloatingPointError as error:
        raise UserError(
            f"step {recognizer.step}",
            problem=str(error),
            advice="Evaluate another checkpoint with --step=N. To train from an earlier one, move"
            f" checkpoints/{recognizer.step} out of the run's workdir, and lower"
            " config.optimizer.learning_rate or set config.model.dtype to float32.",
        ) from error
    results = EvaluationResult(
        scores, MissingClips.from_dataset(dataset, split), dataset.label_names
    )
    text = json.dumps(_summary(recognizer, dataset, split, views, results))
    summary = json.loads(text)
    if not is_primary():
        return summary
    results.save(workdir / f"scores_{split}.npz")
    atomic_write(workdir / f"eval_{split}.json", text + "\n")
    draw_confusion(
        workdir / f"confusion_{split}.png", scores.labels, scores.predictions, dataset.label_names
    )
    evaluation = Evaluation(recognizer, dataset, split, views, results, summary)
    atomic_write(workdir / f"report_{split}.html", render_evaluation(evaluation))
    return summary


def _summary(
    recognizer: Recognizer,
    dataset: ClipDataset,
    split: str,
    views: Views,
    results: EvaluationResult,
) -> dict[str, Any]:
    data, scores = recognizer.config["data"], results.scores
    return results.metrics() | {
        "num_clips": results.num_clips,
        "num_missing": results.num_clips - len(scores.labels),
        "num_unavailable": len(dataset.metadata.get("unavailable", {}).get(split, [])),
        "split": split,
        "step": recognizer.step,
        "views": str(views),
        "dataset": data["name"],
        "test_signer": data.get("test_signer", ""),
        "clips_sha256": clips_sha256(scores.ids),
        "intervals": _intervals(results),
        "signers": _signers(results),
        "shared_signers": shared_signers(dataset, split),
        "expected_calibration_error": Calibration.from_scores(
            scores.probabilities, scores.labels
        ).ece,
    }


def _intervals(results: EvaluationResult) -> dict[str, Any]:
    """Lower and upper ends by metric; None where an interval is not defined."""
    clips = results.labels, results.outcomes, len(results.label_names)
    num_unlisted = results.missing.num_unlisted
    return {
        "level": bootstrap.LEVEL,
        "method": {"over_clips": bootstrap.CLIPS_METHOD, "over_signers": bootstrap.METHOD},
        "over_clips": bootstrap.clip_intervals(*clips, num_unlisted),
        "over_signers": bootstrap.signer_intervals(*clips, results.signers, num_unlisted),
    }


def _signers(results: EvaluationResult) -> dict[str, dict[str, Any]]:
    """Accuracy by signer, lowest first; '' is for clips of unknown signers."""
    return {
        name: {"top1": signer.top1, "interval": signer.interval, "num_clips": signer.num_clips}
        for name, signer in signer_accuracies(results).items()
    }


def _check_labels(trained_on: tuple[str, ...], dataset: ClipDataset) -> None:
    pairs = itertools.zip_longest(trained_on, dataset.label_names, fillvalue="none")
    for label, (expected, found) in enumerate(pairs):
        if expected != found:
            raise UserError(
                f"{dataset.builder.data_dir}: label {label}",
                expected=f"{expected!r}, as in training",
                found=repr(found),
            )


def compare(run_a: pathlib.Path, run_b: pathlib.Path, split: str) -> dict[str, Any]:
    """Compares two evaluated runs and writes a page to the workdir of the second one.

    Returns:
        `Comparison.summary`, and the path of the page as `report`.

    Raises:
        UserError: Results are missing, or not of the same clips.
    """
    comparison = Comparison.load(run_a, run_b, split)
    summary = comparison.summary()
    path = run_b / f"comparison_{split}_with_{run_a.resolve().name}.html"
    atomic_write(path, render_comparison(comparison, summary))
    return summary | {"report": str(path)}
