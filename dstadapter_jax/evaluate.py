"""Evaluate a checkpoint: `python -m dstadapter_jax.evaluate [--workdir DIR] [--split test]`.

The last line on stdout is one JSON object, also written to `DIR/eval_SPLIT.json`. Further files are
the report `report_SPLIT.html`, the confusion matrix `confusion_SPLIT.png` and each clip's scores,
`scores_SPLIT.npz`. For an adapter file instead of a run:
`--adapter signs.safetensors --output DIR`.

With `--compare RUN_A RUN_B` it compares two runs that were evaluated before, prints one JSON object
and writes the page `RUN_B/comparison_SPLIT_with_A.html`.
"""

import argparse
import json
import sys

from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.cli.paths import expanded_path, make_output


def main(argv: list[str]) -> int:
    """Run the command with these arguments and return its exit status."""
    from dstadapter_jax.evaluation.run import compare, evaluate
    from dstadapter_jax.inference.arguments import load_recognizer, parse, select_run

    parser = _parser()
    args = parse(parser, argv)
    if args.compare:
        fixed = ("step", "data_dir", "backbone", "views", "output")
        if given := [name for name in fixed if getattr(args, name) != parser.get_default(name)]:
            parser.error(f"--compare uses existing evaluations: leave out --{given[0]}")
        run_a, run_b = args.compare
        print(json.dumps(compare(run_a, run_b, args.split)))
        return 0
    if args.adapter and not args.output:
        parser.error("--adapter needs --output, the folder of results")
    select_run(args)
    output = args.output or args.workdir
    recognizer = load_recognizer(args)
    make_output(output)
    print(json.dumps(evaluate(recognizer, output, args.split, args.data_dir, args.views)))
    return 0


def _parser() -> argparse.ArgumentParser:
    from dstadapter_jax.data.splits import SPLITS
    from dstadapter_jax.data.views import REFERENCE_VIEWS
    from dstadapter_jax.inference.arguments import add_arguments, views

    parser = argparse.ArgumentParser(prog="python -m dstadapter_jax.evaluate", description=__doc__)
    group = add_arguments(parser)
    group.add_argument(
        "--compare",
        nargs=2,
        type=expanded_path,
        metavar=("RUN_A", "RUN_B"),
        help="two runs that were evaluated on the same clips",
    )
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--data_dir", default="", help="folder of the dataset, if it has moved")
    parser.add_argument(
        "--output", type=expanded_path, metavar="DIR", help="folder of results; default the workdir"
    )
    parser.add_argument(
        "--views",
        type=views,
        default=REFERENCE_VIEWS,
        metavar="CROPSxSEGMENTS",
        help="views per clip: 1 or 3 crops x temporal segments; default 3x1, as in the reference",
    )
    return parser


if __name__ == "__main__":
    sys.exit(run_cli(main))
