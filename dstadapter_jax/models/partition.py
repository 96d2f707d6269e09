"""Which parameters are trained: one rule from parameter path to role."""

import math
from typing import Any, Literal

import jax
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
