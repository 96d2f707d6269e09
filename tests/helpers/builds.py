"""Builds and checks of datasets by the command, in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfds_builders import __main__ as command

WITH_OFFICIAL_COUNTS = ("autsl", "bukva")


def run(argv: Sequence[str], **builder_options: Any) -> int:
    """Run `python -m tfds_builders`; lists of AUTSL and Bukva may have any length by default."""
    dataset = next((word for word in argv if word != "check"), "").partition("/")[0]
    if dataset in WITH_OFFICIAL_COUNTS:
        builder_options.setdefault("num_clips", {})
    return command.main(argv, **builder_options)


def arguments(dataset: str, source: Path, out: Path, *options: str) -> list[str]:
    """Arguments of a build."""
    return [dataset, "--manual_dir", str(source), "--data_dir", str(out), *options]


def build(dataset: str, source: Path, out: Path, *options: str, **builder_options: Any) -> int:
    """Build a dataset and return the exit status."""
    return run(arguments(dataset, source, out, *options), **builder_options)
