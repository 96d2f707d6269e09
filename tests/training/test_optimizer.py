"""AdamW over the trainable parameters."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dstadapter_jax.models.partition import count_parameters, partition, roles
from dstadapter_jax.training.optimizer import make_optimizer


def test_optimizer_state_excludes_frozen_weights(golden_model):
    optimizer = make_optimizer(1e-3, weight_decay=0.01, tune="adapter")
    _, trainable, frozen = partition(golden_model, "adapter")
    whole = optimizer.init(nnx.to_pure_dict(nnx.state(golden_model)))
    part = optimizer.init(trainable)
    moments = 2 * count_parameters(trainable)
    for state in (whole, part):
        arrays = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
        assert sum(leaf.size for leaf in arrays) == moments
    assert count_parameters(frozen) > 10 * count_parameters(trainable)


def test_optimizer_update_of_all_parameters_keeps_frozen_weights(golden_model):
    params = nnx.to_pure_dict(nnx.state(golden_model))
    optimizer = make_optimizer(1e-3, weight_decay=0.01, tune="adapter")
    gradients = jax.tree.map(jnp.ones_like, params)
    updates, _ = jax.jit(optimizer.update)(gradients, jax.jit(optimizer.init)(params), params)
    for (path, update), role in zip(
        jax.tree.leaves_with_path(updates), jax.tree.leaves(roles(params, "adapter")), strict=True
    ):
        assert np.asarray(update).any() == (role != "frozen"), path
