"""What is checked before a run begins or goes on."""

import functools
import logging
import math

from ml_collections import ConfigDict

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.preprocess import preprocess_config
from dstadapter_jax.data.splits import SPLITS
from dstadapter_jax.data.video.reader import check_decoder
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.partition import TUNES
from dstadapter_jax.training.logging import check_wandb
from dstadapter_jax.training.resume import allowed_changes

logger = logging.getLogger(__name__)


MAX_SEED = 2**63 - 1
MAX_STEPS = 2**31 - 1  # they are counted in 32 bits


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
    if config.seed > MAX_SEED:
        raise ValueError(f"config.seed: expected at most {MAX_SEED}, found {config.seed}.")
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


def check_steps(steps_per_epoch: int, num_epochs: int) -> None:
    """Raises ValueError if these are more steps than can be counted."""
    if steps_per_epoch * num_epochs > MAX_STEPS:
        raise ValueError(
            f"config.num_epochs: expected at most {MAX_STEPS // steps_per_epoch}, which with"
            f" {steps_per_epoch} steps an epoch makes {MAX_STEPS} steps, found {num_epochs}."
        )
