"""Trainable parameters: the one rule from parameter path to role."""

import math
from typing import Any, Literal

import jax
from flax import nnx

from dstadapter_jax.errors import ConfigError
from dstadapter_jax.models.dstadapter import DSTAdapter

Role = Literal["frozen", "decay", "no_decay"]

TUNES = ("adapter", "head", "full")
ADAPTERS = ("t_adapter", "s_adapter")
BLOCKS = ("blocks", "last_block")
EMBEDDINGS = ("class_embedding", "positional_embedding", "temporal_embedding")
NORMS = ("ln_pre", "ln_1", "ln_2", "ln_post")


def parameter_role(path: tuple[Any, ...], tune: str) -> Role:
    """Return the role of a parameter: whether it is trained, and whether weight decay applies.

    Args:
        path: Parameter path in `DSTAdapter`, e.g. `("blocks", "t_adapter", "fc1", "kernel")`.
        tune: `adapter` trains adapters, temporal embedding, `ln_post` and head, as DSTAdapter does;
            `head` trains the classifier alone (a linear probe), `full` everything.

    Returns:
        `frozen`, `decay` or `no_decay`. As in the reference, embeddings and LayerNorms do not
        decay; biases do.
    """
    if tune not in TUNES:
        raise ConfigError("config.tune", expected=f"one of {TUNES}", found=repr(tune))
    trained = tune == "full" or path[0] == "head"
    if tune == "adapter":
        trained |= path[0] in ("temporal_embedding", "ln_post") or any(a in path for a in ADAPTERS)
    if not trained:
        return "frozen"
    return "no_decay" if any(name in path for name in (*EMBEDDINGS, *NORMS)) else "decay"


def partition(model: DSTAdapter, tune: str) -> tuple[nnx.GraphDef, dict, dict]:
    """Split a model into structure, trainable and frozen weights (nested dicts of arrays).

    `nnx.merge(graphdef, trainable, frozen)` restores the model.
    """
    graphdef, *states = nnx.split(
        model, lambda path, _: parameter_role(path, tune) != "frozen", ...
    )
    trainable, frozen = map(nnx.to_pure_dict, states)
    return graphdef, trainable, frozen


def roles(params: dict, tune: str) -> dict:
    """Role of every leaf of a nested dict of parameters, for `optax.multi_transform`."""
    return jax.tree.map_with_path(
        lambda path, _: parameter_role(tuple(key.key for key in path), tune), params
    )


def count_parameters(params: dict) -> int:
    """Number of elements in a nested dict of arrays or shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def describe_parameters(trainable: dict, frozen: dict) -> dict[str, Any]:
    """Count parameters, and list the trained ones by group, for JSON.

    Groups are the parts of a block, such as `t_adapter`, over all layers, and the other modules.
    """
    groups: dict[str, dict[str, Any]] = {}
    for path, leaf in jax.tree.leaves_with_path(trainable):
        names = [key.key for key in path]
        group = groups.setdefault(names[names[0] in BLOCKS], {"count": 0, "shapes": {}})
        group["count"] += math.prod(leaf.shape)
        group["shapes"]["/".join(names)] = list(leaf.shape)
    trained = count_parameters(trainable)
    total = trained + count_parameters(frozen)
    return {"parameters": total, "trained": trained, "groups": groups}
