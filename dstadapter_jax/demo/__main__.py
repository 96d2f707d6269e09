"""Run everything on a laptop's CPU, without downloads: `python -m dstadapter_jax.demo`.

Renders a small signed vocabulary as mp4 files, builds a dataset with the builder for your own
recordings, trains DSTAdapter, evaluates on unseen signers, and repeats this with a linear probe on
the frozen backbone. Six of the eight signs form three pairs; each sign is the other's frames in
reverse order. The probe averages frame features and cannot separate them; adapters can.
"""

import argparse
import json
import logging
import pathlib
import sys
from typing import Any

from configs import demo as demo_config
from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.cli.paths import expanded_path
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.preprocess import preprocess_config
from dstadapter_jax.demo.pairs import draw_pairs, pair_metrics
from dstadapter_jax.demo.signs import SIGNS, render_vocabulary
from dstadapter_jax.evaluation.results import EvaluationResult
from dstadapter_jax.parallel.signals import Interrupted
from dstadapter_jax.training.loop import train_and_evaluate
from tfds_builders import __main__ as tfds_builders

logger = logging.getLogger("dstadapter_jax.demo")  # __name__ is "__main__" here

NETWORKS = ("adapter", "head")  # values of config.tune, and names of the runs


def make_data(workdir: pathlib.Path, seed: int) -> pathlib.Path:
    """Render the clips and build the dataset, if missing; return the dataset's folder."""
    recordings, data = workdir / "recordings", workdir / "data"
    if not list((data / "recordings/frames").glob("*.*.*/dataset_info.json")):
        logger.info("rendering %d signs to %s", len(SIGNS), recordings)
        render_vocabulary(recordings, seed=seed)
        arguments = ["recordings/frames", "--manual_dir", str(recordings), "--data_dir", str(data)]
        tfds_builders.main(arguments)
    return data


def run_demo(workdir: pathlib.Path, seed: int) -> dict[str, dict[str, Any]]:
    """Train and evaluate both networks, draw `pairs.png`, and return test results by network.

    Raises:
        Interrupted: A signal ended a run; calling this again resumes it.
    """
    data = make_data(workdir, seed)
    dataset = open_dataset(demo_config.get_config().data.name, str(data))
    results, scores = {}, {}
    for network in NETWORKS:
        config = demo_config.get_config()
        config.tune, config.seed, config.data.dir = network, seed, str(data)
        results[network] = train_and_evaluate(config, workdir / network)
        scores[network] = EvaluationResult.load(workdir / network / "scores_test.npz").scores
        results[network] |= pair_metrics(scores[network], dataset.label_names)
    draw_pairs(workdir / "pairs.png", dataset, preprocess_config(config), scores)
    return results


def main(argv: list[str]) -> int:
    """Run the command with these arguments and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m dstadapter_jax.demo", description=__doc__)
    parser.add_argument("--workdir", type=expanded_path, default=pathlib.Path("demo"))
    parser.add_argument("--seed", type=int, default=0, help="seed of signers, clips and training")
    args = parser.parse_args(argv)
    try:
        results = run_demo(args.workdir, args.seed)
    except Interrupted as interrupted:
        print(f"{interrupted}; run the same command to resume", file=sys.stderr)
        return interrupted.status
    _print_table(results)
    print(f"pictures: {args.workdir}/pairs.png; curves.png and confusion_test.png of each run")
    clip = args.workdir / "recordings" / "raise" / "signer9_0.mp4"
    print(f"try: python -m dstadapter_jax.predict --workdir {args.workdir}/adapter {clip}")
    print(json.dumps(results))
    return 0


def _print_table(results: dict[str, dict[str, Any]]) -> None:
    adapter, head = (results[network] for network in NETWORKS)
    print(f"{'unseen signers':<46}{'adapter':>9}{'head':>9}")
    for title, key, count in (
        ("top-1, all signs", "top1", adapter["num_clips"]),
        ("top-1, time-reversed pairs", "pairs_top1", adapter["pairs_num_clips"]),
        ("correct sign of the pair (chance 0.5)", "direction", adapter["pairs_num_clips"]),
    ):
        row = f"{title}, {count} clips"
        print(f"{row:<46}{adapter[key]:>9.3f}{head[key]:>9.3f}")


if __name__ == "__main__":
    sys.exit(run_cli(main))
