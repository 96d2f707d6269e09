"""The whole way on a laptop's CPU, nothing downloaded: `python -m dstadapter_jax.demo`.

Renders a small signed vocabulary as mp4 files, builds a dataset of them with the builder for own
recordings, trains DSTAdapter on it, evaluates on signers never seen, and does the same with a
linear classifier on the frozen backbone. Three pairs of signs are each other's reverse: the same
frames in opposite order. The classifier averages its frames and can't tell them apart; adapters
can. That is what the method is for.
"""

import argparse
import json
import logging
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from configs import demo as demo_config
from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.cli.paths import expanded_path
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.preprocess import preprocess_config
from dstadapter_jax.demo.picture import draw_pairs
from dstadapter_jax.demo.signs import REVERSED, SIGNS, render_vocabulary
from dstadapter_jax.evaluation.results import EvaluationResult
from dstadapter_jax.evaluation.scores import Scores
from dstadapter_jax.parallel.signals import Interrupted
from dstadapter_jax.training.loop import train_and_evaluate
from tfds_builders import __main__ as tfds_builders

logger = logging.getLogger("dstadapter_jax.demo")  # __name__ is "__main__" here


def make_data(workdir: pathlib.Path, seed: int) -> pathlib.Path:
    """Renders and builds, unless that was done before; returns the dataset's folder."""
    recordings, data = workdir / "recordings", workdir / "data"
    if not list((data / "recordings/frames").glob("*.*.*/dataset_info.json")):
        logger.info("rendering %d signs to %s", len(SIGNS), recordings)
        render_vocabulary(recordings, seed=seed)
        arguments = ["recordings/frames", "--manual_dir", str(recordings), "--data_dir", str(data)]
        tfds_builders.main(arguments)
    return data


def read_scores(workdir: pathlib.Path) -> Scores:
    """What a run wrote of its test clips."""
    return EvaluationResult.load(workdir / "scores_test.npz").scores


def pair_metrics(scores: Scores, names: Sequence[str]) -> dict[str, Any]:
    """What test scores say of the time-reversed pairs.

    Args:
        scores: Of the test split.
        names: By label id.

    Returns:
        Of the clips of these signs alone: `pairs_top1`, and `direction`, the share in which the
        sign got a higher score than its reverse: 0.5 by chance.
    """
    reverse = REVERSED | {b: a for a, b in REVERSED.items()}
    rows = [row for row, label in enumerate(scores.labels) if names[label] in reverse]
    labels = scores.labels[rows]
    names = list(names)
    others = [names.index(reverse[names[label]]) for label in labels]
    probabilities = scores.probabilities[rows]
    right, wrong = (probabilities[range(len(rows)), ids] for ids in (labels, others))
    return {
        "pairs_top1": float((scores.predictions[rows] == labels).mean()),
        "direction": float((right > wrong).mean()),
        "pairs_num_clips": len(rows),
    }


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m dstadapter_jax.demo", description=__doc__)
    parser.add_argument("--workdir", type=expanded_path, default=pathlib.Path("demo"))
    parser.add_argument("--seed", type=int, default=0, help="of signers, clips and training")
    args = parser.parse_args(argv)
    data = make_data(args.workdir, args.seed)
    dataset = open_dataset(demo_config.get_config().data.name, str(data))
    results = {}
    for tune in ("adapter", "head"):
        config = demo_config.get_config()
        config.tune, config.seed, config.data.dir = tune, args.seed, str(data)
        workdir = args.workdir / tune
        try:
            results[tune] = train_and_evaluate(config, workdir)
        except Interrupted as interrupted:
            print(f"{interrupted}; the same command goes on from there", file=sys.stderr)
            return interrupted.status
        results[tune] |= pair_metrics(read_scores(workdir), dataset.label_names)
    scores = {tune: read_scores(args.workdir / tune) for tune in results}
    draw_pairs(args.workdir / "pairs.png", dataset, preprocess_config(config), scores)
    _show(args.workdir, results)
    print(json.dumps(results))
    return 0


def _show(workdir: pathlib.Path, results: dict[str, dict[str, Any]]) -> None:
    adapter = results["adapter"]
    print(f"{'signers never seen in training':<44}{'adapter':>9}{'head':>9}")
    for title, key, count in (
        ("top-1, all signs", "top1", adapter["num_clips"]),
        ("top-1, time-reversed pairs", "pairs_top1", adapter["pairs_num_clips"]),
        ("which of the two (chance 0.5)", "direction", adapter["pairs_num_clips"]),
    ):
        row = f"{title}, {count} clips"
        print(f"{row:<44}{adapter[key]:>9.3f}{results['head'][key]:>9.3f}")
    print(f"pictures: {workdir}/pairs.png; curves.png and confusion_test.png of each run")
    clip = workdir / "recordings" / "raise" / "signer9_0.mp4"
    print(f"try: python -m dstadapter_jax.predict --workdir {workdir}/adapter {clip}")


if __name__ == "__main__":
    sys.exit(run_cli(main))
