"""AdamW over the trainable parameters, with a cosine learning rate stepped once an epoch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from dstadapter_jax.models.partition import roles


def cosine_by_epoch(
    base: float, num_epochs: int, steps_per_epoch: int
) -> Callable[[jax.Array], jax.Array]:
    """Cosine decay, stepped once an epoch: `base * (1 + cos(pi * e / E)) / 2` in epoch e of E."""

    def schedule(step: jax.Array) -> jax.Array:
        epoch = jnp.minimum(step // steps_per_epoch, num_epochs)
        return base * (1 + jnp.cos(jnp.pi * epoch / num_epochs)) / 2

    return schedule


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
