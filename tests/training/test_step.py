"""The training step, against the reference's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dstadapter_jax import ModelConfig, dump_weights
from dstadapter_jax.models.partition import partition
from dstadapter_jax.pretrained.initialization import init_model
from dstadapter_jax.training.optimizer import cosine_by_epoch, make_optimizer
from dstadapter_jax.training.step import TrainState, make_train_step
from tests.helpers.golden import GOLDEN, META, SIZES


@pytest.mark.exact
def test_ten_training_steps_equal_the_reference(golden_model):
    _, trainable, frozen = partition(golden_model, "adapter")
    before = jax.tree.map(np.array, frozen)
    steps = len(GOLDEN["train/loss"])
    schedule = cosine_by_epoch(8e-4, num_epochs=5, steps_per_epoch=2)
    np.testing.assert_allclose(
        [schedule(jnp.int32(k)) for k in range(steps)], GOLDEN["train/lr"], rtol=1e-6
    )
    optimizer = make_optimizer(schedule, weight_decay=0.01, tune="adapter")
    graphdef = partition(golden_model, "adapter")[0]
    step = jax.jit(make_train_step(graphdef, optimizer, lambda clips: clips))
    state = TrainState(jnp.int32(0), trainable, optimizer.init(trainable))
    clip = GOLDEN["input/clip_ncthw"].transpose(0, 2, 3, 4, 1)
    losses = []
    for k in range(steps):
        batch = np.roll(clip, k, axis=0), np.roll(GOLDEN["input/label"], k)
        state, loss = step(state, frozen, *(a[np.newaxis] for a in batch), jax.random.key(0))
        losses.append(float(loss))

    np.testing.assert_allclose(losses, GOLDEN["train/loss"], atol=1e-5, rtol=0)
    final = dump_weights(nnx.merge(graphdef, state.trainable, frozen))
    for name in META["trainable"]:
        np.testing.assert_allclose(
            final[name], GOLDEN[f"train/final/{name}"], atol=2e-6, rtol=0, err_msg=name
        )
    jax.tree.map(np.testing.assert_array_equal, before, frozen)


def test_train_step_draws_a_new_dropout_mask_each_step():
    cfg = ModelConfig(**{name: META[name] for name in SIZES}, dropout=0.5)
    graphdef, trainable, frozen = partition(init_model(cfg, seed=0), "adapter")
    optimizer = make_optimizer(0.0, weight_decay=0.0, tune="adapter")  # nothing else changes
    step = jax.jit(make_train_step(graphdef, optimizer, lambda clips: clips))
    start = TrainState(jnp.int32(0), trainable, optimizer.init(trainable))
    clips = GOLDEN["input/clip_ncthw"].transpose(0, 2, 3, 4, 1)
    batch = clips[np.newaxis], GOLDEN["input/label"][np.newaxis]
    after, first = step(start, frozen, *batch, jax.random.key(0))
    _, second = step(after, frozen, *batch, jax.random.key(0))
    _, again = step(start, frozen, *batch, jax.random.key(0))
    _, other_key = step(start, frozen, *batch, jax.random.key(1))
    assert first == again
    assert len({float(first), float(second), float(other_key)}) == 3
