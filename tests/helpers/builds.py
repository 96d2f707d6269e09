"""Builds and checks of datasets by the command, in this process."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from dstadapter_jax.data.splits import SPLITS
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


def read_back(out: Path, dataset: str) -> tuple[tfds.core.DatasetInfo, dict[str, list[dict]]]:
    """A built dataset's info, and its examples by split."""
    builder = tfds.builder_from_directory(out / dataset / "1.0.0")
    return builder.info, {split: list(builder.as_data_source(split)) for split in SPLITS}


def read_metadata(out: Path, dataset: str) -> dict[str, Any]:
    """A built dataset's `metadata.json`."""
    return json.loads((out / dataset / "1.0.0" / "metadata.json").read_text())


def clip_ids(examples: Iterable[Mapping[str, Any]]) -> list[str]:
    """Ids of examples."""
    return [example["id"].decode() for example in examples]


def build_by_id(
    dataset: str, source: Path, out: Path, *options: str, **builder_options: Any
) -> tuple[tfds.core.DatasetInfo, dict[str, dict[str, dict]]]:
    """Build a dataset, and return its info and its examples by split and id."""
    assert build(dataset, source, out, *options, **builder_options) == 0
    info, examples = read_back(out, dataset)
    return info, {s: dict(zip(clip_ids(of), of, strict=True)) for s, of in examples.items()}
