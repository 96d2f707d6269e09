"""Evaluates a checkpoint: `python -m dstadapter_jax.evaluate --workdir DIR [--split test]`.

The last line on stdout is one JSON object, written to `DIR/eval_SPLIT.json` too; beside it go a
page for people, `DIR/report_SPLIT.html`, the confusion matrix, `DIR/confusion_SPLIT.png`, and each
clip's scores, `DIR/scores_SPLIT.npz`. An adapter file does in place of a run:
`--adapter signs.safetensors --data_dir DATA --output DIR`.

With `--compare RUN_A RUN_B` it compares two runs evaluated before, prints one JSON object, and
writes a page on it, `RUN_B/comparison_SPLIT_with_A.html`.
"""

import argparse
import itertools
import json
import pathlib
import sys
from typing import Any

from dstadapter_jax.cli.main import expanded_path, main_with_messages, make_output
from dstadapter_jax.data.datasets import SPLITS, ClipDataset, open_dataset
from dstadapter_jax.data.views import REFERENCE_VIEWS, Views
from dstadapter_jax.evaluation import bootstrap
from dstadapter_jax.evaluation.calibration import Calibration
from dstadapter_jax.evaluation.comparison import Comparison
from dstadapter_jax.evaluation.report import comparison_page, evaluation_page
from dstadapter_jax.evaluation.report.evaluation import Evaluation
from dstadapter_jax.evaluation.report.provenance import clips_sha256
from dstadapter_jax.evaluation.results import LeftOut, SplitResults
from dstadapter_jax.evaluation.scores import score_split
from dstadapter_jax.evaluation.signers import shared_signers, signer_accuracies
from dstadapter_jax.inference.arguments import add_arguments, load_recogniser, parse
from dstadapter_jax.inference.recognizer import Recogniser
from dstadapter_jax.parallel.hosts import is_primary
from dstadapter_jax.training.plots import draw_confusion
from dstadapter_jax.training.workdir import write_whole


def evaluate(
    recogniser: Recogniser,
    workdir: pathlib.Path,
    split: str,
    data_dir: str = "",
    views: Views = REFERENCE_VIEWS,
) -> dict[str, Any]:
    """Evaluates on a split and writes the results to `workdir`.

    Args:
        recogniser: Of the run that `workdir` holds.
        workdir: Where the results go, written by the first of many processes.
        split: `train`, `validation` or `test`.
        data_dir: Where the dataset is now, if not where training found it.
        views: Of each clip.

    Returns:
        What `eval_SPLIT.json` holds. `num_clips` is what the accuracies are fractions of; of these,
        `num_left_out` are missing, damaged or on no list, and count as wrong.
        `num_never_published` more are listed and nobody can have them: they don't count.

    Raises:
        ValueError: Labels differ, or what the model says isn't finite; nothing is written.
    """
    data = recogniser.config["data"]
    # Runs of older versions know of no `test_signer`.
    dataset = open_dataset(data["name"], data_dir or data["dir"], data.get("test_signer", ""))
    _check_labels(recogniser.label_names, dataset)
    try:
        scores = score_split(recogniser, dataset, split, "test", views)
    except FloatingPointError as error:
        raise ValueError(
            f"step {recogniser.step}: {error}: there is no telling how good it is. Evaluate another"
            " checkpoint, --step=N; or to train on from the one before, move checkpoints"
            f"/{recogniser.step} out of the run's workdir, and lower config.optimizer.learning_rate"
            " or set config.model.dtype to float32."
        ) from error
    results = SplitResults(scores, LeftOut.of(dataset, split), dataset.label_names)
    text = json.dumps(_summary(recogniser, dataset, split, views, results))
    summary = json.loads(text)
    if not is_primary():
        return summary
    results.save(workdir / f"scores_{split}.npz")
    write_whole(workdir / f"eval_{split}.json", text + "\n")
    draw_confusion(
        workdir / f"confusion_{split}.png", scores.labels, scores.predictions, dataset.label_names
    )
    evaluation = Evaluation(recogniser, dataset, split, views, results, summary)
    write_whole(workdir / f"report_{split}.html", evaluation_page.render(evaluation))
    return summary


def _summary(
    recogniser: Recogniser, dataset: ClipDataset, split: str, views: Views, results: SplitResults
) -> dict[str, Any]:
    data, scores = recogniser.config["data"], results.scores
    return results.metrics() | {
        "num_clips": results.num_clips,
        "num_left_out": results.num_clips - len(scores.labels),
        "num_never_published": len(dataset.metadata.get("never_published", {}).get(split, [])),
        "split": split,
        "step": recogniser.step,
        "views": str(views),
        "dataset": data["name"],
        "test_signer": data.get("test_signer", ""),
        "clips_sha256": clips_sha256(scores.ids),
        "intervals": _intervals(results),
        "signers": _signers(results),
        "shared_signers": shared_signers(dataset, split),
        "expected_calibration_error": Calibration.of(scores.probabilities, scores.labels).ece,
    }


def _intervals(results: SplitResults) -> dict[str, Any]:
    """Lower and upper ends by figure; None where there is no telling."""
    clips = results.labels, results.outcomes, len(results.label_names)
    not_named = results.left_out.not_named
    return {
        "level": bootstrap.LEVEL,
        "method": bootstrap.METHOD,
        "over_clips": bootstrap.clip_intervals(*clips, not_named),
        "over_signers": bootstrap.signer_intervals(*clips, results.signers, not_named),
    }


def _signers(results: SplitResults) -> dict[str, dict[str, Any]]:
    """By name, '' for clips of unknown signers; the worst recognised first."""
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
    write_whole(path, comparison_page.render(comparison, summary))
    return summary | {"report": str(path)}


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    parser = _parser()
    args = parse(parser, argv)
    if args.compare:
        of_a_run = ("step", "data_dir", "backbone", "views", "output")
        if given := [name for name in of_a_run if getattr(args, name) != parser.get_default(name)]:
            parser.error(f"--compare takes runs as they were evaluated: leave out --{given[0]}")
        run_a, run_b = args.compare
        print(json.dumps(compare(run_a, run_b, args.split)))
        return 0
    output = args.output or args.workdir
    if args.adapter and not (args.data_dir and output):
        parser.error("--adapter needs --data_dir and --output: an adapter file names no folders")
    recogniser = load_recogniser(args)
    make_output(output)
    print(json.dumps(evaluate(recogniser, output, args.split, args.data_dir, args.views)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dstadapter_jax.evaluate", description=__doc__)
    either = add_arguments(parser)
    either.add_argument(
        "--compare",
        nargs=2,
        type=expanded_path,
        metavar=("RUN_A", "RUN_B"),
        help="two runs that were evaluated on the same clips",
    )
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--data_dir", default="", help="where the dataset is, if it has moved")
    parser.add_argument(
        "--output", type=expanded_path, metavar="DIR", help="for the results, if not the workdir"
    )
    parser.add_argument(
        "--views",
        type=_views,
        default=REFERENCE_VIEWS,
        metavar="CROPSxCLIPS",
        help="of each clip: 1 or 3 crops x clips along its time; 3x1, the reference's, unless told",
    )
    return parser


def _views(text: str) -> Views:
    try:
        return Views.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main_with_messages(main))
