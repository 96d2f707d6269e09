"""Checks of config values before any file is opened, and of the config against the dataset."""

import functools
import math
from typing import Any

from ml_collections import ConfigDict

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.preprocess import preprocess_config
from dstadapter_jax.data.splits import SPLITS
from dstadapter_jax.data.video.reader import check_decoder
from dstadapter_jax.errors import ConfigError
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.partition import TUNES
from dstadapter_jax.training.logging import check_wandb

MAX_SEED = 2**63 - 1
MAX_STEPS = 2**31 - 1  # steps are counted in 32 bits

# Fields that may differ when a run resumes: they affect file locations and speed, not the result.
# The backbone is compared by its hash, not its path, and the global batch size, not its factors.
# Both decoders give the same frames.
RESUME_IGNORED_FIELDS = (
    *("data.dir", "data.num_threads", "data.decoder", "mesh.data", "mesh.fsdp", "batch_size"),
    *("gradient_accumulation_steps", "pretrained", "pretrained_revision"),
    *("wandb_project", "allow_changed", "optimizer.base_batch_size"),
)
DATASET = "dataset"  # in `config.allow_changed`: allows another build of the dataset


def check_fields(config: ConfigDict) -> None:
    """Raise ConfigError for an invalid value, before any file is opened."""
    for name in (
        *("num_epochs", "batch_size", "validate_every_epochs", "log_every_steps"),
        *("gradient_accumulation_steps", "data.num_threads", "optimizer.base_batch_size"),
    ):
        value = functools.reduce(getattr, name.split("."), config)
        if value < 1:
            raise ConfigError(f"config.{name}", expected="at least 1", found=value)
    rate, decay = config.optimizer.learning_rate, config.optimizer.weight_decay
    if not 0 < rate < math.inf:
        raise ConfigError("config.optimizer.learning_rate", expected="more than 0", found=rate)
    if not 0 <= decay < math.inf:
        raise ConfigError("config.optimizer.weight_decay", expected="at least 0", found=decay)
    for name in ("seed", "validate_last_epochs"):
        if config[name] < 0:
            raise ConfigError(f"config.{name}", expected="at least 0", found=config[name])
    if config.seed > MAX_SEED:
        raise ConfigError("config.seed", expected=f"at most {MAX_SEED}", found=config.seed)
    if config.tune not in TUNES:
        raise ConfigError("config.tune", expected=f"one of {TUNES}", found=repr(config.tune))
    allowed_changes(config.to_dict())
    check_wandb(config.wandb_project)
    check_decoder(config.data.decoder)
    ModelConfig(**config.model)
    preprocess_config(config)


def allowed_changes(config: dict[str, Any]) -> tuple[str, ...]:
    """Fields in `config.allow_changed`; raises ConfigError for an unknown one."""
    names = tuple(name.strip() for name in config["allow_changed"].split(",") if name.strip())
    known = sorted({DATASET, *flat_fields(config)} - set(RESUME_IGNORED_FIELDS))
    for name in names:
        if name not in known:
            raise ConfigError(
                "config.allow_changed",
                expected=f"some of {', '.join(known)}",
                found=repr(name),
                advice=f"These may always differ: {', '.join(RESUME_IGNORED_FIELDS)}.",
            )
    return names


def flat_fields(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Fields of a nested config by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flat_fields(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def check_dataset(config: ConfigDict, dataset: ClipDataset) -> None:
    """Raise UserError if the number of classes is not the dataset's, or a split has no clips."""
    expected = len(dataset.label_names)
    if config.model.num_classes != expected:
        raise ConfigError(
            "config.model.num_classes",
            expected=f"{expected}, the number of labels of {dataset.builder.data_dir}",
            found=config.model.num_classes,
            advice=f"Pass --config.model.num_classes={expected}.",
        )
    for split in SPLITS:
        dataset.source(split)


def check_steps(steps_per_epoch: int, num_epochs: int) -> None:
    """Raise ConfigError if the number of steps exceeds the counter."""
    if steps_per_epoch * num_epochs > MAX_STEPS:
        raise ConfigError(
            "config.num_epochs",
            expected=f"at most {MAX_STEPS // steps_per_epoch}: with {steps_per_epoch} steps an"
            f" epoch, {MAX_STEPS} steps",
            found=num_epochs,
        )
