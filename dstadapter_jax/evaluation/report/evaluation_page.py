"""The page on the results of a run on a split."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.views import REFERENCE_VIEWS, Views
from dstadapter_jax.evaluation import bootstrap
from dstadapter_jax.evaluation.calibration import NUM_BINS, Calibration
from dstadapter_jax.evaluation.confusions import confusion_counts
from dstadapter_jax.evaluation.report.confused_signs import confused_signs, sign_rows
from dstadapter_jax.evaluation.report.intervals import TITLES, explain_intervals, metric_intervals
from dstadapter_jax.evaluation.report.provenance import config_lines, dataset_facts, run_facts
from dstadapter_jax.evaluation.results import EvaluationResult
from dstadapter_jax.evaluation.signers import signer_accuracies
from dstadapter_jax.html.charts import ConfusionChart
from dstadapter_jax.html.formats import counted, listed, percent
from dstadapter_jax.html.page import ERROR, NOTE, WARNING, Finding, by_severity, render
from dstadapter_jax.inference.recognizer import Recognizer

TEMPLATE = Path(__file__).with_name("evaluation.html")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The results of a run on a split.

    Attributes:
        recognizer: The evaluated run.
        dataset: The dataset of the split.
        split: `train`, `validation` or `test`.
        views: Views that were averaged.
        results: Scores of all clips that count.
        summary: Contents of `eval_SPLIT.json`.
    """

    recognizer: Recognizer
    dataset: ClipDataset
    split: str
    views: Views
    results: EvaluationResult
    summary: Mapping[str, Any]


def render_evaluation(evaluation: Evaluation) -> str:
    """Renders the page as HTML that needs no other file."""
    results, scores = evaluation.results, evaluation.results.scores
    counts = confusion_counts(scores)
    return render(
        TEMPLATE,
        summary=evaluation.summary,
        metrics={
            TITLES[name]: (evaluation.summary[name], metric_intervals(evaluation.summary, name))
            for name in bootstrap.METRICS
        },
        findings=by_severity(caveats(evaluation)),
        interval_text=explain_intervals(len(set(results.signers) - {""})),
        signers=signer_accuracies(results),
        pairs=confused_signs(
            scores,
            results.label_names,
            evaluation.recognizer,
            evaluation.dataset.source(evaluation.split),
            evaluation.views,
        ),
        matrix=ConfusionChart(counts, results.label_names),
        signs=sign_rows(results.label_names, counts, results.labels),
        calibration=Calibration.from_scores(scores.probabilities, scores.labels),
        num_bins=NUM_BINS,
        dataset_facts=dataset_facts(evaluation.dataset, evaluation.summary),
        missing_clips=results.missing.ids.tolist(),
        run_facts=run_facts(evaluation.recognizer.config, evaluation.summary, evaluation.views),
        config_lines=config_lines(evaluation.recognizer.config),
    )


def caveats(evaluation: Evaluation) -> list[Finding]:
    """Facts that limit the meaning of the accuracies."""
    return [*_signer_caveats(evaluation), *_clip_caveats(evaluation)]


def _signer_caveats(evaluation: Evaluation) -> Iterator[Finding]:
    split, signers = evaluation.split, evaluation.dataset.signers
    own, shared = len(signers.get(split, [])), evaluation.summary["shared_signers"]
    if split == "train":
        yield Finding(ERROR, "The run was trained on these clips.", "signers")
        return
    if not own or not signers.get("train"):
        text = "Signers are unknown: the training split may hold the same people."
        yield Finding(WARNING, text, "clips")
    if known := shared.get("train"):
        text = f"{len(known)} of {counted(own, 'signer')} are in the training split, too: the"
        yield Finding(ERROR, f"{text} accuracies do not hold for new people.", "signers")
    if split == "test" and (known := shared.get("validation")):
        text = f"{len(known)} of {counted(own, 'signer')} are in the validation split, too, which"
        yield Finding(WARNING, f"{text} chose the best step.", "signers")
    if split == "validation":
        text = "The best step was chosen on this split, so its accuracies are too high."
        yield Finding(WARNING, text, "run")


def _untrained_labels(evaluation: Evaluation) -> list[str]:
    """Labels of the split that a user's own splits leave without a training clip."""
    if evaluation.summary["test_signer"]:  # other splits than the dataset's
        return []
    absent = evaluation.dataset.metadata.get("missing_labels", {}).get("train", [])
    names = evaluation.results.label_names
    return sorted({names[label] for label in evaluation.results.labels} & set(absent))


def _clip_caveats(evaluation: Evaluation) -> Iterator[Finding]:
    summary, results = evaluation.summary, evaluation.results
    if missing := summary["num_missing"]:
        text = f"{missing:,} of {counted(summary['num_clips'], 'clip')} are missing, damaged or not"
        yield Finding(WARNING, f"{text} listed: they count as wrong.", "clips")
    if unavailable := summary["num_unavailable"]:
        text = f"{counted(unavailable, 'listed clip')} were never published: they do not count."
        yield Finding(NOTE, text, "clips")
    classes = len(results.label_names)
    if absent := classes - len(set(results.labels.tolist())):
        text = f"{absent:,} of {counted(classes, 'sign')} have no clip here: in the mean class"
        mean = results.metrics()["mean_class_accuracy"] * classes / (classes - absent)
        text += f" accuracy each counts as 0. The mean of the others is {percent(mean)}."
        yield Finding(NOTE, text, "signs")
    if untrained := _untrained_labels(evaluation):
        text = f"The training split lacks {counted(len(untrained), 'sign')} of this split, never"
        yield Finding(WARNING, f"{text} predicted: {listed(untrained, 5)}.", "signs")
    if evaluation.views != REFERENCE_VIEWS:
        text = f"Scores are means over {evaluation.views} of a video; the reference uses"
        yield Finding(NOTE, f"{text} {REFERENCE_VIEWS}.", "run")
