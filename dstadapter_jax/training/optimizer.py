"""AdamW over the trainable parameters, with a cosine learning rate stepped once an epoch."""

import logging
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from dstadapter_jax.models.partition import roles

logger = logging.getLogger(__name__)

MAX_BATCH_RATIO = 2  # of a run's batch to the recipe's, beyond which the learning rate is stated


def cosine_by_epoch(
    base: float, num_epochs: int, steps_per_epoch: int
) -> Callable[[jax.Array], jax.Array]:
    """Cosine decay, stepped once an epoch: `base * (1 + cos(pi * e / E)) / 2` in epoch e of E."""

    def schedule(step: jax.Array) -> jax.Array:
        epoch = jnp.minimum(step // steps_per_epoch, num_epochs)
        return base * (1 + jnp.cos(jnp.pi * epoch / num_epochs)) / 2

    return schedule


def check_learning_rate(config: ConfigDict, batch_size: int) -> None:
    """Log the linearly scaled learning rate if the clips per update differ much from the recipe."""
    rate, base = config.learning_rate, config.base_batch_size
    if not 1 / MAX_BATCH_RATIO < batch_size / base < MAX_BATCH_RATIO:
        logger.warning(
            "an update has %d clips, and the learning rate %g is meant for %d: linear scaling gives"
            " --config.optimizer.learning_rate=%.4g",
            *(batch_size, rate, base, rate * batch_size / base),
        )


def make_optimizer(
    learning_rate: optax.ScalarOrSchedule, weight_decay: float, tune: str
) -> optax.GradientTransformation:
    """AdamW with the reference's constants, over all parameters or only the trainable ones."""

    def adamw(decay: float) -> optax.GradientTransformation:
        return optax.adamw(learning_rate, b1=0.9, b2=0.999, eps=1e-8, weight_decay=decay)

    return optax.multi_transform(
        {"frozen": optax.set_to_zero(), "decay": adamw(weight_decay), "no_decay": adamw(0.0)},
        lambda params: roles(params, tune),
    )
