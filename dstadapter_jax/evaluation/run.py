"""Evaluation of a model on a split, and comparison of two evaluated runs."""

import itertools
import json
import pathlib
from typing import Any

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.views import REFERENCE_VIEWS, Views
from dstadapter_jax.evaluation import bootstrap
from dstadapter_jax.evaluation.calibration import Calibration
from dstadapter_jax.evaluation.comparison import Comparison
from dstadapter_jax.evaluation.confusion_plot import draw_confusion
from dstadapter_jax.evaluation.report import comparison_page, evaluation_page
from dstadapter_jax.evaluation.report.evaluation import Evaluation
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
        recognizer: Of the run that `workdir` holds.
        workdir: Where the results go, written by the first of many processes.
        split: `train`, `validation` or `test`.
        data_dir: Where the dataset is now, if not where training found it.
        views: Of each clip.

    Returns:
        What `eval_SPLIT.json` holds. `num_clips` is what the accuracies are fractions of; of these,
        `num_missing` are missing, damaged or on no list, and count as wrong.
        `num_unavailable` more are listed and nobody can have them: they don't count.

    Raises:
        ValueError: Labels differ, or what the model says isn't finite; nothing is written.
    """
    data = recognizer.config["data"]
    # The config of an adapter file has no `test_signer`.
    dataset = open_dataset(data["name"], data_dir or data["dir"], data.get("test_signer", ""))
    _check_labels(recognizer.label_names, dataset)
    try:
        scores = score_split(recognizer, dataset, split, "test", views)
    except FloatingPointError as error:
        raise ValueError(
            f"step {recognizer.step}: {error}: there is no telling how good it is. Evaluate another"
            " checkpoint, --step=N; or to train on from the one before, move checkpoints"
            f"/{recognizer.step} out of the run's workdir, and lower config.optimizer.learning_rate"
            " or set config.model.dtype to float32."
        ) from error
    results = EvaluationResult(scores, MissingClips.of(dataset, split), dataset.label_names)
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
    atomic_write(workdir / f"report_{split}.html", evaluation_page.render(evaluation))
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
        "expected_calibration_error": Calibration.of(scores.probabilities, scores.labels).ece,
    }


def _intervals(results: EvaluationResult) -> dict[str, Any]:
    """Lower and upper ends by figure; None where there is no telling."""
    clips = results.labels, results.outcomes, len(results.label_names)
    num_unlisted = results.missing.num_unlisted
    return {
        "level": bootstrap.LEVEL,
        "method": bootstrap.METHOD,
        "over_clips": bootstrap.clip_intervals(*clips, num_unlisted),
        "over_signers": bootstrap.signer_intervals(*clips, results.signers, num_unlisted),
    }


def _signers(results: EvaluationResult) -> dict[str, dict[str, Any]]:
    """By name, '' for clips of unknown signers; the worst recognized first."""
    return {
        name: {"top1": of.top1, "interval": of.interval, "num_clips": of.num_clips}
        for name, of in signer_accuracies(results).items()
    }


def _check_labels(trained_on: tuple[str, ...], dataset: ClipDataset) -> None:
    pairs = itertools.zip_longest(trained_on, dataset.label_names, fillvalue="none")
    for label, (expected, found) in enumerate(pairs):
        if expected != found:
            raise ValueError(
                f"{dataset.builder.data_dir}: its labels aren't those that the run was trained on:"
                f" label {label}: expected {expected!r}, found {found!r}."
            )


def compare(run_a: pathlib.Path, run_b: pathlib.Path, split: str) -> dict[str, Any]:
    """Compares two runs that were evaluated, and writes the page on it to the second one's folder.

    Returns:
        What `Comparison.summary` tells, and `report`, the page.
    """
    comparison = Comparison.load(run_a, run_b, split)
    summary = comparison.summary()
    path = run_b / f"comparison_{split}_with_{run_a.resolve().name}.html"
    atomic_write(path, comparison_page.render(comparison, summary))
    return summary | {"report": str(path)}
