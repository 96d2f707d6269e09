"""Shards written by workers of Apache Beam, for datasets that are too large for one machine."""

import logging
from collections.abc import Sequence

import tensorflow_datasets as tfds

from dstadapter_jax.errors import UserError
from tfds_builders.clip_shards import Shard, write_shard

OPTION = "--beam_pipeline_options"

logging.getLogger("apache_beam").setLevel(logging.ERROR)  # warns of other clouds' packages
try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions, WorkerOptions
except ImportError as error:
    raise UserError(
        OPTION,
        problem="Apache Beam is not installed",
        advice="Install it: .venv/bin/pip install -r requirements-beam.txt",
    ) from error

_log = logging.getLogger(__name__)


def parse_options(flags: str) -> PipelineOptions:
    """Parse `runner=DirectRunner,direct_num_workers=2`, the syntax of `tfds build`.

    Raises:
        UserError: Beam has no option of that name.
    """
    options = PipelineOptions([f"--{flag}" for flag in flags.split(",")])
    known = options.get_all_options()
    names = [flag.partition("=")[0] for flag in flags.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise UserError(OPTION, expected="options of Beam", found=", ".join(unknown))
    workers = options.view_as(WorkerOptions)
    workers.default_sdk_harness_log_level = workers.default_sdk_harness_log_level or "WARNING"
    return options


def write(
    shards: Sequence[Shard], features: tfds.features.FeaturesDict, options: PipelineOptions
) -> None:
    """Write all shards with `clip_shards.write_shard`, each in one worker thread.

    Shards stay on the file system, which all workers must share.

    Raises:
        UserError: A worker failed. A full disk is not an OSError here, so that the shards that
            other workers have finished are kept.
    """
    _log.info("%d shards on Beam: %s", len(shards), options.get_all_options(drop_default=True))
    try:
        with beam.Pipeline(options=options) as pipeline:
            items = pipeline | beam.Create(shards, reshuffle=True)
            _ = items | "write" >> beam.Map(write_shard, features=features)
    except Exception as error:
        # The message of a worker's error ends with its cause, after the worker's stack trace.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError("Apache Beam", problem=reason[-1]) from error
