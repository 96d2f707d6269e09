"""Command-line arguments that select trained models: a run, or adapter files."""

import argparse
import pathlib
import re
from typing import Any

from dstadapter_jax.cli.paths import expanded_path
from dstadapter_jax.data.views import Views
from dstadapter_jax.errors import UserError
from dstadapter_jax.inference.multi_adapter import MultiAdapterRecognizer
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.inference.runs import newest_run

RUN_HELP = "workdir of a run; by default the newest one in runs/"


def add_arguments(parser: argparse.ArgumentParser, *, many: bool = False) -> Any:
    """Add `--workdir`, `--adapter` (with `many` repeatable and named), `--step` and `--backbone`.

    Returns:
        The mutually exclusive group of the first two, for further alternatives.
    """
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--workdir", type=expanded_path, help=RUN_HELP)
    group.add_argument(
        "--adapter",
        metavar="[NAME=]FILE" if many else "FILE",
        action="append" if many else "store",
        help="adapter file, hf:OWNER/REPO/FILE, or demo" + "; repeatable" * many,
    )
    parser.add_argument("--step", help="checkpoint of the run: best (default), last, or a number")
    parser.add_argument("--backbone", default="", help="backbone file, if it has moved")
    return group


def views(text: str) -> Views:
    """Parse `--views`."""
    try:
        return Views.parse(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parse(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """Parse arguments; incompatible ones end the process with status 2."""
    args = parser.parse_args(argv)
    if args.adapter and args.step:
        parser.error("--step needs --workdir: an adapter file holds one step")
    return args


def select_run(args: argparse.Namespace) -> None:
    """Set the workdir to the newest run if neither a run nor an adapter file was passed."""
    if not args.adapter and args.workdir is None:
        args.workdir = newest_run("--workdir RUN or --adapter FILE")


def load_recognizer(args: argparse.Namespace) -> Recognizer:
    """Load the model of the run or the adapter file."""
    if args.adapter:
        return Recognizer.load_adapter(args.adapter, args.backbone)
    select_run(args)
    return Recognizer.load(args.workdir, args.step or "best", args.backbone)


def load_recognizers(args: argparse.Namespace) -> dict[str, Recognizer]:
    """Load the models of all adapter files by name; a single unnamed one is called ``""``.

    Raises:
        UserError: Two files have the same name.
    """
    named = [_named(text, alone=len(args.adapter) == 1) for text in args.adapter or ()]
    if not named or named[0][0] == "":
        args.adapter = named[0][1] if named else None
        return {"": load_recognizer(args)}
    if len(dict(named)) < len(named):
        names = ", ".join(name for name, _ in named)
        raise UserError(
            "--adapter", expected="different names", found=names, advice="Use NAME=FILE."
        )
    return dict(MultiAdapterRecognizer(dict(named), args.backbone).recognizers)


def _named(text: str, *, alone: bool) -> tuple[str, str]:
    match = re.match(r"([\w-]+)=", text)
    if match:
        return match[1], text[match.end() :]
    return "" if alone else pathlib.PurePath(text).stem, text
