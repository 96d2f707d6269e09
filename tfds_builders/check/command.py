"""Check clips before building: `python -m tfds_builders check DATASET[/CONFIG] --manual_dir SRC`.

Decodes every clip and writes the page `check_DATASET_CONFIG.html` and `check_DATASET_CONFIG.json`.
A summary goes to stdout, progress and logs to stderr. The exit status is 0 if the dataset would
build, 1 if it would not, 2 for wrong use.
"""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from dstadapter_jax.cli.paths import expanded_path
from dstadapter_jax.errors import UserError
from dstadapter_jax.files.atomic import atomic_write
from dstadapter_jax.html.formats import printable
from tfds_builders import datasets
from tfds_builders.check.decoding import check_clips
from tfds_builders.check.findings import findings
from tfds_builders.check.page import render_report
from tfds_builders.check.report import Report, make
from tfds_builders.clip_examples import FILE_FORMAT


def main(argv: Sequence[str], **builder_options: Any) -> int:
    """Run the command and return 0 or 1; wrong use exits with status 2.

    Args:
        argv: Arguments of the command.
        **builder_options: Further arguments of the builder.

    Raises:
        SourceError: The dataset's lists are missing or wrong, or no clip was found.
        UserError: The folder is missing, or the report can't be written.
    """
    parser = _parser()
    datasets.refuse_empty(parser, argv)
    args = parser.parse_args(argv)
    builder_cls, config = datasets.choose(parser, args.dataset, args.manual_dir)
    options = datasets.options(parser, builder_cls, config, args)
    datasets.check_folder(builder_cls, args.manual_dir)
    if args.report.resolve().is_relative_to(args.manual_dir.resolve()):
        parser.error(
            f"--report {args.report} lies in --manual_dir {args.manual_dir}, which is only read: "
            "choose another folder"
        )
    _make_folder(args.report)  # before hours of decoding
    report = check(builder_cls, options | builder_options, args.manual_dir)
    print(_summary(report))
    for path in _write(report, args.report):
        print(f"report: {path}")
    return 0 if report.would_build else 1


def check(
    builder_cls: type[tfds.core.DatasetBuilder], options: dict[str, Any], folder: Path
) -> Report:
    """List and decode the clips that a build with these options reads.

    Args:
        builder_cls: Builder of the dataset.
        options: Arguments of the builder: `config` and optionally `max_missing`.
        folder: The user's folder.

    Raises:
        SourceError: The lists are missing or wrong, or no clip was found.
    """
    with tempfile.TemporaryDirectory() as empty:  # an existing dataset would be read instead
        builder = builder_cls(data_dir=empty, file_format=FILE_FORMAT, **options)
    listing = builder.listing(folder)
    checked = check_clips(listing)
    label = builder.info.features["label"]
    if label.num_classes is None:  # a user's own recordings
        labels = sorted({one.clip.label for one in checked})
    else:  # without class 0 of the reference's labels, which has no clips
        labels = label.names[builder.builder_config.upstream_labels :]
    name = f"{builder.name}/{builder.builder_config.name}"
    return make(name, listing, labels, builder.max_missing, checked)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tfds_builders check",
        description="Decodes every clip of a dataset as building it would, and reports on them. "
        "Exit status: 0 it would build, 1 it would not, 2 wrong use.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "dataset", metavar="DATASET[/CONFIG]", help=f"one of: {', '.join(datasets.DATASETS)}"
    )
    parser.add_argument(
        "--manual_dir", type=expanded_path, metavar="SRC", help="folder of the clips; only read"
    )
    parser.add_argument(
        "--report",
        type=expanded_path,
        default=Path(),
        metavar="DIR",
        help="folder for the two files of the report (default: the current folder)",
    )
    datasets.add_options(parser)
    return parser


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"--report {folder}",
            expected="a folder that reports can be written to",
            found=error.strerror,
            advice="Choose another one.",
        ) from error


def _write(report: Report, folder: Path) -> Iterator[Path]:
    """Write both files atomically and yield their paths."""
    found = [dataclasses.asdict(finding) for finding in findings(report)]
    content = {**dataclasses.asdict(report), "findings": found}
    texts = {
        "html": render_report(report),
        "json": json.dumps(content, ensure_ascii=False, indent=1) + "\n",
    }
    for suffix, text in texts.items():
        path = folder.resolve() / f"check_{report.dataset.replace('/', '_')}.{suffix}"
        # Bytes of file names that are not UTF-8 become \udcff, which JSON reads back.
        atomic_write(path, text.encode("utf-8", "backslashreplace"))
        yield path


def _summary(report: Report) -> str:
    lines = [f"{report.dataset}: {'would build' if report.would_build else 'would NOT build'}"]
    for name, split in report.splits.items():
        line = f"  {name}: {split.usable:,} of {split.listed:,} listed clips usable"
        lines.append(f"{line}, {split.share_excluded:.2%} excluded")
    lines += [f"{finding.level}: {finding.text}" for finding in findings(report)]
    return "\n".join(map(printable, lines))
