"""The arguments that tell a command what to recognize with: a run, or adapter files."""

import argparse
import pathlib
import re
from typing import Any

from dstadapter_jax.cli.paths import expanded_path
from dstadapter_jax.inference.multi_adapter import MultiAdapterRecognizer
from dstadapter_jax.inference.recognizer import Recognizer


def add_arguments(parser: argparse.ArgumentParser, *, many: bool = False) -> Any:
    """Adds `--workdir`, `--adapter` (`many`: any number, by name), `--step` and `--backbone`.

    Returns:
        The group of the first two, of which a command takes one, for others that exclude them.
    """
    either = parser.add_mutually_exclusive_group(required=True)
    either.add_argument("--workdir", type=expanded_path, help="of a run")
    either.add_argument(
        "--adapter",
        metavar="[NAME=]FILE" if many else "FILE",
        action="append" if many else "store",
        help="of `export adapter`, or hf:OWNER/REPO/FILE" + "; may be repeated" * many,
    )
    parser.add_argument("--step", help="of the run: best (by validation, the default), last, or N")
    parser.add_argument("--backbone", default="", help="where its file is, if it has moved")
    return either


def parse(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """The arguments; those that don't go together end the process with status 2."""
    args = parser.parse_args(argv)
    if args.adapter and args.step:
        parser.error("--step goes with --workdir: an adapter file holds one step")
    return args


def load_recognizer(args: argparse.Namespace) -> Recognizer:
    """The run's or the adapter file's."""
    if args.adapter:
        return Recognizer.load_adapter(args.adapter, args.backbone)
    return Recognizer.load(args.workdir, args.step or "best", args.backbone)


def load_recognizers(args: argparse.Namespace) -> dict[str, Recognizer]:
    """One for each of many adapter files, by name; a single one without a name is called ``""``.

    Raises:
        ValueError: Two files have the same name.
    """
    named = [_named(text, alone=len(args.adapter) == 1) for text in args.adapter or ()]
    if not named or named[0][0] == "":
        args.adapter = named[0][1] if named else None
        return {"": load_recognizer(args)}
    if len(dict(named)) < len(named):
        names = ", ".join(name for name, _ in named)
        raise ValueError(f"--adapter: expected names that differ, found {names}; say NAME=FILE.")
    return dict(MultiAdapterRecognizer(dict(named), args.backbone).recognizers)


def _named(text: str, *, alone: bool) -> tuple[str, str]:
    match = re.match(r"([\w-]+)=", text)
    if match:
        return match[1], text[match.end() :]
    return "" if alone else pathlib.PurePath(text).stem, text
