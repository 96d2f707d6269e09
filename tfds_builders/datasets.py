"""The datasets there are builders of, and how a command's arguments name one."""

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
    """Exits if an argument is empty, as of an unset variable: it would be the current folder."""
    for argument in argv:
        if not argument or (argument.startswith("--") and argument.endswith("=")):
            parser.error(f"an argument is empty: {' '.join(map(repr, argv))}")


def choose(
    parser: argparse.ArgumentParser, dataset: str, manual_dir: object
) -> tuple[type[tfds.core.DatasetBuilder], str]:
    """Returns the builder class and the config of `DATASET[/CONFIG]`, or exits with what is wrong.

    Args:
      parser: exits with status 2.
      dataset: as the user names it; without a config it is the first one.
      manual_dir: as the user gives it, if at all.
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


def options(
    parser: argparse.ArgumentParser,
    builder_cls: type[tfds.core.DatasetBuilder],
    config: str,
    max_missing: float | None,
) -> dict[str, Any]:
    """The builder's arguments; exits if `max_missing` is given and the dataset doesn't know it."""
    if max_missing is None:
        return {"config": config}
    if not issubclass(builder_cls, PublicDatasetBuilder):
        parser.error(f"--max_missing has no effect on {builder_cls.name}")
    return {"config": config, "max_missing": max_missing}


def share(text: str) -> float:
    """A share below 1; for `argparse`."""
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
