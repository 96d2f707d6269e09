"""AdamW over the trainable parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import common
from dstadapter_jax.models.partition import count_parameters, partition, roles
from dstadapter_jax.training.optimizer import check_learning_rate, make_optimizer


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


@pytest.mark.parametrize(
    ("batch_size", "rate"), [(8, 5e-4), (9, None), (16, None), (31, None), (32, 2e-3), (128, 8e-3)]
)
def test_check_learning_rate_of_another_batch_logs_the_scaled_one(batch_size, rate, caplog):
    check_learning_rate(common.get_config().optimizer, batch_size)
    assert [record.args for record in caplog.records] == (
        [] if rate is None else [(batch_size, 1e-3, 16, pytest.approx(rate))]
    )
