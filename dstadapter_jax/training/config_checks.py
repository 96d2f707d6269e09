"""What is checked before a run begins or goes on."""

import functools
import logging
import math
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from dstadapter_jax.data.datasets import SPLITS, ClipDataset
from dstadapter_jax.data.video.reader import check_decoder
from dstadapter_jax.inference.recognizer import preprocess_config
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.parallel.hosts import gather_json
from dstadapter_jax.training.logging import check_wandb
from dstadapter_jax.training.optimizer import TUNES
from dstadapter_jax.training.workdir import DATASET, allowed_changes, flat_fields

logger = logging.getLogger(__name__)

# Fields that may differ among the processes of a run: where things are on their machines.
OF_A_MACHINE = (
    *("data.dir", "data.num_threads", "data.decoder", "pretrained", "pretrained_revision"),
    "wandb_project",
)

MOST_SEED = 2**63 - 1
MOST_STEPS = 2**31 - 1  # they are counted in 32 bits


def check_fields(config: ConfigDict) -> None:
    """Checks, before anything is opened, what nothing else would notice in time.

    Raises:
        ValueError: A field's value isn't allowed, or not together with another's.
    """
    for name in (
        *("num_epochs", "batch_size", "validate_every_epochs", "log_every_steps"),
        *("gradient_accumulation_steps", "data.num_threads"),
    ):
        value = functools.reduce(getattr, name.split("."), config)
        if value < 1:
            raise ValueError(f"config.{name}: expected at least 1, found {value}.")
    rate, decay = config.optimizer.learning_rate, config.optimizer.weight_decay
    if not 0 < rate < math.inf:
        raise ValueError(f"config.optimizer.learning_rate: expected more than 0, found {rate}.")
    if not 0 <= decay < math.inf:
        raise ValueError(f"config.optimizer.weight_decay: expected at least 0, found {decay}.")
    for name in ("seed", "validate_last_epochs"):
        if config[name] < 0:
            raise ValueError(f"config.{name}: expected at least 0, found {config[name]}.")
    if config.seed > MOST_SEED:
        raise ValueError(f"config.seed: expected at most {MOST_SEED}, found {config.seed}.")
    if config.tune not in TUNES:
        raise ValueError(f"config.tune: expected one of {TUNES}, found {config.tune!r}.")
    allowed_changes(config.to_dict())
    check_wandb(config.wandb_project)
    check_decoder(config.data.decoder)
    ModelConfig(**config.model)
    preprocess_config(config)


def check_dataset(config: ConfigDict, dataset: ClipDataset) -> None:
    """Raises ValueError if the dataset hasn't the model's number of classes, or lacks a split."""
    found = len(dataset.label_names)
    if config.model.num_classes != found:
        raise ValueError(
            f"config.model.num_classes: expected {found}, the labels of"
            f" {dataset.builder.data_dir}, found {config.model.num_classes}."
            f" Pass --config.model.num_classes={found}."
        )
    for split in SPLITS:
        dataset.source(split)


def check_same_everywhere(
    workdir: pathlib.Path, config: dict[str, Any], identity: dict[str, Any]
) -> None:
    """Raises ValueError, naming the fields, if a run's processes were asked for different ones.

    All must ask. They would train to the end, each its own, or wait for each other without end.

    Args:
        workdir: Of the run.
        config: Its fields.
        identity: What else a checkpoint is known by.
    """
    backbone = {"the backbone's SHA-256": identity["backbone"]["sha256"]}
    own = {"--workdir": str(workdir.absolute())} | flat_fields(config) | dict(identity) | backbone
    hosts = gather_json(
        {name: own[name] for name in own if name not in (*OF_A_MACHINE, "backbone")}
    )
    differing = [
        f"{name}: {hosts[0].get(name)!r} for process 0, {other.get(name)!r} for process {number}"
        for number, other in enumerate(hosts)
        for name in hosts[0] | other
        if other.get(name) != hosts[0].get(name)
    ]
    if differing:
        raise ValueError(
            f"the processes of the run were asked for different ones: {'; '.join(differing)}."
            " Start all of them with the same command, config, data and backbone."
        )


def check_resumable(
    workdir: pathlib.Path,
    saved: Mapping[str, Any],
    asked: Mapping[str, Any],
    allowed: Collection[str] = (),
) -> None:
    """Raises ValueError if batch, backbone or dataset aren't those of the workdir's run.

    Args:
        workdir: Of the run.
        saved: Metadata of its checkpoint.
        asked: The same fields as they are now.
        allowed: What may differ, as `allowed_changes` returns it: of these, the dataset's build.
    """
    same_batch = (
        "Use as many devices as before, or set config.batch_size, which is per device, or"
        " config.gradient_accumulation_steps so that the product is the same."
    )
    same_file = "Use the same backbone file: --config.pretrained=FILE."
    same_data = "Say where the dataset is that it began with: --config.data.dir=OUT."
    for what, key, advice in (
        ("clips in a batch", "global_batch_size", same_batch),
        ("the backbone's SHA-256", "backbone", same_file),
        ("clips", "num_clips", same_data),
        ("labels", "label_names", same_data),
    ):
        there, here = (
            fields[key]["sha256"] if key == "backbone" else fields[key] for fields in (saved, asked)
        )
        if there != here:
            raise ValueError(
                f"{workdir}: {what}: the run there has {there!r}, asked for {here!r}. {advice}"
            )
    if "dataset_sha256" not in saved:
        logger.warning("%s is of an older version: whether its clips are these isn't told", workdir)
        return
    there, here = saved["dataset_sha256"], asked["dataset_sha256"]
    differing = ", ".join(part for part in there | here if there.get(part) != here.get(part))
    if differing and DATASET not in allowed:
        raise ValueError(
            f"{workdir}: the dataset has the labels and as many clips as the one that the run there"
            f" began with, but is another or another build: {differing} differ. {same_data} Or"
            f" choose another --workdir; if it is the same clips built again, go on with them:"
            f" --config.allow_changed={DATASET}."
        )
    if differing:
        logger.warning("from here on another build of the dataset: %s differ", differing)


def check_steps(steps_per_epoch: int, num_epochs: int) -> None:
    """Raises ValueError if these are more steps than can be counted."""
    if steps_per_epoch * num_epochs > MOST_STEPS:
        raise ValueError(
            f"config.num_epochs: expected at most {MOST_STEPS // steps_per_epoch}, which with"
            f" {steps_per_epoch} steps an epoch makes {MOST_STEPS} steps, found {num_epochs}."
        )


def check_epochs(workdir: pathlib.Path, done: float, asked: int) -> None:
    """Raises ValueError if fewer epochs are asked for than the workdir's run has done."""
    if asked < done:
        raise ValueError(
            f"config.num_epochs: expected at least {math.ceil(done)}, the epochs that the run in"
            f" {workdir} has begun, found {asked}."
        )
