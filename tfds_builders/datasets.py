"""The datasets that can be built, and arguments that both commands share."""

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from dstadapter_jax.errors import UserError
from tfds_builders.archives import unpack_hint
from tfds_builders.public_dataset import PublicDatasetBuilder

DATASETS = {
    name: f"tfds_builders.{name}.{name}_dataset_builder"
    for name in ("recordings", "include", "autsl", "bukva", "lsa64")
}


def refuse_empty(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Exit if an argument is empty, such as an unset variable: it would be the current folder."""
    for argument in argv:
        if not argument or (argument.startswith("--") and argument.endswith("=")):
            parser.error(f"an argument is empty: {' '.join(map(repr, argv))}")


def choose(
    parser: argparse.ArgumentParser, dataset: str, manual_dir: object
) -> tuple[type[tfds.core.DatasetBuilder], str]:
    """Return the builder class and config of `DATASET[/CONFIG]`, or exit with a message.

    Args:
        parser: Parser that exits with status 2.
        dataset: The user's argument; the first config is the default.
        manual_dir: The user's argument, if any.
    """
    name, _, config = dataset.partition("/")
    if name not in DATASETS:
        parser.error(f"unknown dataset {name!r}; one of: {', '.join(DATASETS)}")
    builder_cls = importlib.import_module(DATASETS[name]).Builder
    configs = list(builder_cls.builder_configs)
    if config and config not in configs:
        parser.error(f"unknown config {config!r} of {name}; one of: {', '.join(configs)}")
    if not manual_dir:
        parser.error(f"--manual_dir is needed. {builder_cls.MANUAL_DOWNLOAD_INSTRUCTIONS}")
    return builder_cls, config or configs[0]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a builder's clips."""
    parser.add_argument(
        "--max_missing",
        type=share,
        metavar="SHARE",
        help="share of each split's clips that may be missing or damaged; they are left out and "
        f"listed in metadata.json (default {PublicDatasetBuilder.MAX_MISSING}; recordings: 0)",
    )
    parser.add_argument(
        "--layout",
        metavar="LEVELS",
        help="recordings: levels of folders from the top, such as split/label or signer/label",
    )
    parser.add_argument(
        "--encoding", help="recordings: encoding of the table, such as cp1252 (default UTF-8)"
    )


def options(
    parser: argparse.ArgumentParser,
    builder_cls: type[tfds.core.DatasetBuilder],
    config: str,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """The builder's arguments; exit if an option has no effect on the dataset."""
    names = ("max_missing", "layout", "encoding")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    for name in given.keys() - {"max_missing"}:
        if builder_cls.name != "recordings":
            parser.error(f"--{name} has no effect on {builder_cls.name}")
    return {"config": config, **given}


def share(text: str) -> float:
    """Parse a share below 1; a type for `argparse`."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to below 1, got {text}")
    return value


def check_folder(builder_cls: type[tfds.core.DatasetBuilder], manual_dir: Path) -> None:
    """Raise UserError if the folder is missing or empty."""
    if manual_dir.is_dir() and any(manual_dir.iterdir()):
        return
    found = "an empty folder" if manual_dir.is_dir() else "nothing"
    hint = unpack_hint([manual_dir]) if manual_dir.is_file() else ""
    raise UserError(
        f"--manual_dir {manual_dir}",
        expected="a folder of videos",
        found="a file" if manual_dir.is_file() else found,
        advice=f"{builder_cls.MANUAL_DOWNLOAD_INSTRUCTIONS}\n{hint}".rstrip(),
    )
