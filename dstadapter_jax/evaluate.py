"""Evaluates a checkpoint: `python -m dstadapter_jax.evaluate --workdir DIR [--split test]`.

The last line on stdout is one JSON object, written to `DIR/eval_SPLIT.json` too; beside it go a
page for people, `DIR/report_SPLIT.html`, the confusion matrix, `DIR/confusion_SPLIT.png`, and each
clip's scores, `DIR/scores_SPLIT.npz`. An adapter file does in place of a run:
`--adapter signs.safetensors --data_dir DATA --output DIR`.

With `--compare RUN_A RUN_B` it compares two runs evaluated before, prints one JSON object, and
writes a page on it, `RUN_B/comparison_SPLIT_with_A.html`.
"""

import argparse
import json
import sys

from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.cli.paths import expanded_path, make_output
from dstadapter_jax.data.splits import SPLITS
from dstadapter_jax.data.views import REFERENCE_VIEWS, Views
from dstadapter_jax.evaluation.run import compare, evaluate
from dstadapter_jax.inference.arguments import add_arguments, load_recognizer, parse


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
    recognizer = load_recognizer(args)
    make_output(output)
    print(json.dumps(evaluate(recognizer, output, args.split, args.data_dir, args.views)))
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
    sys.exit(run_cli(main))
