"""What is trained, and how: one rule from parameter path to role, and AdamW over it."""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from dstadapter_jax.models.dstadapter import DSTAdapter

Role = Literal["frozen", "decay", "no_decay"]
TUNES = ("adapter", "head", "full")

ADAPTERS = ("t_adapter", "s_adapter")
EMBEDDINGS = ("class_embedding", "positional_embedding", "temporal_embedding")
NORMS = ("ln_pre", "ln_1", "ln_2", "ln_post")


def parameter_role(path: tuple[Any, ...], tune: str) -> Role:
    """The one source of truth for what is trained and what decays.

    Args:
        path: Of a parameter in `DSTAdapter`, e.g. `("blocks", "t_adapter", "fc1", "kernel")`.
        tune: `adapter` trains what DSTAdapter trains: adapters, temporal embedding, `ln_post` and
            head. `head` trains the classifier alone, `full` everything: the paper's comparisons.

    Returns:
        `frozen`, or whether weight decay applies: as in the reference to all but embeddings and
        LayerNorms, biases included.
    """
    if tune not in TUNES:
        raise ValueError(f"config.tune: expected one of {TUNES}, found {tune!r}.")
    trained = tune == "full" or path[0] == "head"
    if tune == "adapter":
        trained |= path[0] in ("temporal_embedding", "ln_post") or any(a in path for a in ADAPTERS)
    if not trained:
        return "frozen"
    return "no_decay" if any(name in path for name in (*EMBEDDINGS, *NORMS)) else "decay"


def partition(model: DSTAdapter, tune: str) -> tuple[nnx.GraphDef, dict, dict]:
    """Splits a model into its structure, trainable and frozen weights (nested dicts of arrays).

    `nnx.merge(graphdef, trainable, frozen)` puts it together again.
    """
    graphdef, *states = nnx.split(
        model, lambda path, _: parameter_role(path, tune) != "frozen", ...
    )
    trainable, frozen = map(nnx.to_pure_dict, states)
    return graphdef, trainable, frozen


def roles(params: dict, tune: str) -> dict:
    """The role of every leaf of a nested dict of parameters, as `optax.multi_transform` wants."""
    return jax.tree.map_with_path(
        lambda path, _: parameter_role(tuple(key.key for key in path), tune), params
    )


def count_parameters(params: dict) -> int:
    """Numbers in a nested dict of arrays (or of shapes)."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def cosine_by_epoch(
    base: float, num_epochs: int, steps_per_epoch: int
) -> Callable[[jax.Array], jax.Array]:
    """Cosine to 0, stepped once an epoch: `base * (1 + cos(pi * e / E)) / 2` in epoch e of E."""

    def schedule(step: jax.Array) -> jax.Array:
        epoch = jnp.minimum(step // steps_per_epoch, num_epochs)
        return base * (1 + jnp.cos(jnp.pi * epoch / num_epochs)) / 2

    return schedule


def make_optimizer(
    learning_rate: optax.ScalarOrSchedule, weight_decay: float, tune: str
) -> optax.GradientTransformation:
    """AdamW with the reference's constants; takes all parameters or the trainable ones alone."""

    def adamw(decay: float) -> optax.GradientTransformation:
        return optax.adamw(learning_rate, b1=0.9, b2=0.999, eps=1e-8, weight_decay=decay)

    return optax.multi_transform(
        {"frozen": optax.set_to_zero(), "decay": adamw(weight_decay), "no_decay": adamw(0.0)},
        lambda params: roles(params, tune),
    )
