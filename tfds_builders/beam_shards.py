"""Writes shards on the workers of Apache Beam, for datasets that one machine is too small for."""

import logging
from collections.abc import Sequence

import tensorflow_datasets as tfds

from dstadapter_jax.errors import UserError
from tfds_builders.clip_shards import Shard, write_shard

OPTION = "--beam_pipeline_options"

logging.getLogger("apache_beam").setLevel(logging.ERROR)  # of other clouds' missing packages
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
    """Reads `runner=DirectRunner,direct_num_workers=2`, as `tfds build` has it.

    Raises:
      UserError: Beam has no option of that name.
    """
    options = PipelineOptions([f"--{flag}" for flag in flags.split(",")])
    known = options.get_all_options()
    names = [flag.partition("=")[0] for flag in flags.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise UserError(OPTION, expected="options of Beam's", found=", ".join(unknown))
    workers = options.view_as(WorkerOptions)
    workers.default_sdk_harness_log_level = workers.default_sdk_harness_log_level or "WARNING"
    return options


def write(
    shards: Sequence[Shard], features: tfds.features.FeaturesDict, options: PipelineOptions
) -> None:
    """Writes every shard, as `clip_shards.write_shard` does, a worker's thread to each.

    What the shards hold stays on the file system, which all workers have to see.

    Raises:
      UserError: a worker failed, also on a full disk: shards that others have finished are kept.
    """
    _log.info("%d shards on Beam: %s", len(shards), options.get_all_options(drop_default=True))
    try:
        with beam.Pipeline(options=options) as pipeline:
            every = pipeline | beam.Create(shards, reshuffle=True)
            _ = every | "write" >> beam.Map(write_shard, features=features)
    except Exception as error:
        # Of a worker's error, its stack on this and on that machine, the last line tells what.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError("Apache Beam", problem=reason[-1]) from error
