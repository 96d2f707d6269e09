"""Build a dataset: `python -m tfds_builders DATASET[/CONFIG] --manual_dir SRC [--data_dir OUT]`.

`python -m tfds_builders check DATASET …` decodes all clips without building: `check/command.py`.

Progress and logs go to stderr, a summary of the dataset to stdout. The exit status is 0 when the
dataset is built, 1 when it can't be, 2 for wrong use, 130 after Ctrl-C.
"""

import argparse
import contextlib
import io
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from dstadapter_jax.cli.defaults import default_data_dir
from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.cli.paths import expanded_path
from dstadapter_jax.errors import UserError
from tfds_builders import clip_examples, datasets
from tfds_builders.check import command as check
from tfds_builders.clip_shards import FULL_DISK
from tfds_builders.datasets import DATASETS
from tfds_builders.excluded import ExcludedClips
from tfds_builders.sources import first_names
from tfds_builders.staging import Staging

MAX_LABELS = 100  # in the summary

_log = logging.getLogger("tfds_builders")  # __name__ is "__main__" here


def main(argv: Sequence[str], **builder_options: Any) -> int:
    """Run the command and return 0; wrong use exits with status 2, other errors are raised.

    Args:
        argv: Arguments of the command.
        **builder_options: Further arguments of the builder.
    """
    if argv[:1] == ["check"]:
        return check.main(argv[1:], **builder_options)
    parser = _parser()
    datasets.refuse_empty(parser, argv)
    args = parser.parse_args(argv)
    builder_cls, config = datasets.choose(parser, args.dataset, args.manual_dir)
    options = datasets.options(parser, builder_cls, config, args)
    _build(builder_cls, options | builder_options, args)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tfds_builders",
        description="Builds a dataset from videos on disk. To check the videos first: "
        "python -m tfds_builders check --help",
        allow_abbrev=False,
    )
    parser.add_argument(
        "dataset", metavar="DATASET[/CONFIG]", help=f"one of: {', '.join(DATASETS)}"
    )
    parser.add_argument(
        "--manual_dir", type=expanded_path, metavar="SRC", help="folder of the videos; only read"
    )
    parser.add_argument(
        "--data_dir",
        type=expanded_path,
        metavar="OUT",
        help="folder of all datasets (default: TFDS_DATA_DIR, or else ~/tensorflow_datasets)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing dataset")
    datasets.add_options(parser)
    parser.add_argument(
        "--beam_pipeline_options",
        metavar="OPTION=VALUE,…",
        help="build on Apache Beam with these options, such as runner=DirectRunner",
    )
    return parser


def _build(
    builder_cls: type[tfds.core.DatasetBuilder],
    options: Mapping[str, Any],
    args: argparse.Namespace,
) -> None:
    # Absolute, since Beam's workers may run elsewhere.
    manual_dir = args.manual_dir.absolute()
    datasets.check_folder(builder_cls, manual_dir)
    beam_options = _beam_options(args.beam_pipeline_options)
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, beam_options=beam_options)

    def new_builder(data_dir: Path) -> tfds.core.DatasetBuilder:
        file_format = clip_examples.FILE_FORMAT
        return builder_cls(data_dir=data_dir, file_format=file_format, **options)

    data_dir = (args.data_dir or default_data_dir()).absolute()
    builder = new_builder(data_dir)
    if args.overwrite or not Path(builder.data_dir).exists():
        _prepare(new_builder, Staging(data_dir, Path(builder.data_dir)), config)
    elif builder.is_prepared():
        _check_bound(builder, options)
        _log.info("The dataset exists and is unchanged; --overwrite builds it again.")
    else:
        raise UserError(
            str(builder.data_dir),
            expected="a complete dataset",
            found="a folder without dataset_info.json",
            advice="Remove it, or replace it with --overwrite.",
        )
    print(_summary(new_builder(data_dir)))


def _check_bound(builder: tfds.core.DatasetBuilder, options: Mapping[str, Any]) -> None:
    """Raise UnusableClipsError if an existing dataset lacks more clips than it may now."""
    if "max_missing" in options:
        info, folder = builder.info, str(builder.data_dir)
        missing, num_unlisted = info.metadata["missing"], info.metadata["num_unlisted"]
        published = {s: len(missing[s]) + found.num_examples for s, found in info.splits.items()}
        excluded = ExcludedClips(folder, published, options["max_missing"], num_unlisted)
        excluded.reasons = missing
        excluded.check()


def _beam_options(flags: str | None) -> Any:
    """Beam's `PipelineOptions`; None if the dataset is built without Beam."""
    if not flags:
        return None
    from tfds_builders import beam_shards  # Beam is an extra

    return beam_shards.parse_options(flags)


def _prepare(
    new_builder: Callable[[Path], tfds.core.DatasetBuilder],
    staging: Staging,
    config: tfds.download.DownloadConfig,
) -> None:
    """Build in the staging folder, then replace the old dataset, if any.

    TFDS itself deletes the old dataset before it builds, and loses it if the build fails.
    """
    with staging.locked():
        if count := staging.num_shards():
            _log.info("Resuming an interrupted build: %d shard(s) are complete.", count)
        try:
            # TFDS prints its plan to stdout.
            with contextlib.redirect_stdout(io.StringIO()):
                new_builder(staging.folder).download_and_prepare(download_config=config)
            staging.move()
        except BaseException as error:
            # Shards on a full disk are removed, so that it does not stay full.
            if not staging.num_shards() or getattr(error, "errno", None) in FULL_DISK:
                staging.remove()
                raise
            _log.info("%s", _kept(staging))
            raise
        staging.remove()


def _kept(staging: Staging) -> str:
    return (
        f"{staging.num_shards()} complete shard(s) are kept in {staging.folder}: the same command "
        "resumes there. To start afresh, remove that folder."
    )


def _summary(builder: tfds.core.DatasetBuilder) -> str:
    metadata = builder.info.metadata
    num_labels = builder.info.features["label"].num_classes
    lines = [f"{builder.name}/{builder.builder_config.name}: {num_labels} labels"]
    for split, info in builder.info.splits.items():
        signers = len(metadata["signers"][split]) or "unknown"
        line = f"  {split}: {info.num_examples} clips, signers: {signers}"
        excluded = len(metadata.get("missing", {}).get(split, ()))
        if excluded := excluded + metadata.get("num_unlisted", {}).get(split, 0):
            line += f", {excluded} excluded (missing, damaged or on no list: see metadata.json)"
        if never := metadata.get("unavailable", {}).get(split):
            line += f", {len(never)} listed but unpublished"
        if missing := metadata["missing_labels"][split]:
            line += f", no clip of {len(missing)} labels: {first_names(missing)}"
        lines.append(line)
    labels = builder.info.features["label"].names
    lines.append(f"labels: {', '.join(labels[:MAX_LABELS])}" + ", …" * (num_labels > MAX_LABELS))
    lines += [f"splits: {metadata['split_method']}", f"dataset: {builder.data_dir}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_cli(main))
