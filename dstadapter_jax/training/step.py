"""The training step: one update of the trainable weights, as a pure function."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from dstadapter_jax.parallel.mesh import (
    constrain_batch,
    device_count,
    parameter_sharding,
    replicated,
    traced_under,
)


class TrainState(NamedTuple):
    """Everything that a training step changes.

    Attributes:
        step: Number of steps done, a scalar.
        trainable: Trainable weights.
        optimizer: State of the optimizer.
    """

    step: jax.Array
    trainable: dict
    optimizer: optax.OptState


TrainStep = Callable[..., tuple[TrainState, jax.Array]]


def split_microbatches(batch: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """Reshape a batch's arrays from `(A B, …)` to `(A, B, …)` with A = `count` microbatches."""
    return {name: rows.reshape(count, -1, *rows.shape[1:]) for name, rows in batch.items()}


def make_train_step(
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    prepare: Callable[[jax.Array], jax.Array],
) -> TrainStep:
    """Build the training step for a batch of A microbatches, whose gradients are averaged.

    Args:
        graphdef: Structure of the model.
        optimizer: Optimizer of the trainable weights.
        prepare: Converts stored clips to the model's input, one microbatch at a time, so that only
            one microbatch is held in float32.

    Returns:
        `(state, frozen, clips, labels, key) -> (state, loss)` with `clips` `(A, B, T, H, W, 3)` and
        `labels` `(A, B)`. The dropout mask depends on key, step and a clip's position in the batch,
        but not on A or the number of devices.
    """

    def loss_fn(
        trainable: dict, frozen: dict, clips: jax.Array, labels: jax.Array, mask: jax.Array
    ) -> jax.Array:
        model = nnx.merge(graphdef, trainable, frozen)
        logits = model.head(model.apply_dropout(model.features(prepare(clips)), mask))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    # The gradient is taken with respect to the trainable weights only, so frozen weights have none.
    # It is vmapped over devices: each sums its own clips' gradients, and these are averaged once,
    # at the end. Otherwise the compiler would all-reduce after each product of each microbatch.
    grad_fn = jax.vmap(jax.value_and_grad(loss_fn), in_axes=(None, None, 0, 0, 0))

    def train_step(
        state: TrainState, frozen: dict, clips: jax.Array, labels: jax.Array, key: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        def accumulate(
            sums: tuple[jax.Array, dict], microbatch: tuple[jax.Array, ...]
        ) -> tuple[tuple[jax.Array, dict], None]:
            rows = map(_split_over_devices, microbatch)
            found = grad_fn(state.trainable, frozen, *rows)
            return jax.tree.map(lambda a, b: constrain_batch(a + b), sums, found), None

        count, size = labels.shape
        model = nnx.merge(graphdef, state.trainable, frozen)
        mask = model.dropout_mask(jax.random.fold_in(key, state.step), count * size)
        microbatches = (clips, labels, mask.reshape(count, size, -1))
        sums, _ = jax.lax.scan(accumulate, _zero_sums(state.trainable), microbatches)
        loss, gradients = jax.tree.map(lambda total: total.mean(axis=0) / count, sums)
        return _apply(optimizer, state, gradients), loss

    return train_step


def _split_over_devices(rows: jax.Array) -> jax.Array:
    """Reshape `(B, …)` to `(devices, B / devices, …)`, sharded over the devices."""
    return constrain_batch(rows.reshape(device_count(), -1, *rows.shape[1:]))


def _zero_sums(trainable: dict) -> tuple[jax.Array, dict]:
    """Zeros for the sums of loss and gradients, one of each per device."""
    return jax.tree.map(
        lambda leaf: constrain_batch(jnp.zeros((device_count(), *leaf.shape))),
        (jnp.zeros(()), trainable),
    )


def _apply(
    optimizer: optax.GradientTransformation, state: TrainState, gradients: dict
) -> TrainState:
    updates, moments = optimizer.update(gradients, state.optimizer, state.trainable)
    return TrainState(state.step + 1, optax.apply_updates(state.trainable, updates), moments)


def jit_train_step(train_step: TrainStep, mesh: Mesh, state: TrainState) -> jax.stages.Wrapped:
    """Prepare a training step for compilation on a mesh; the state passed to it is donated."""
    shardings = parameter_sharding(mesh, state), replicated(mesh)
    return jax.jit(traced_under(mesh, train_step), donate_argnums=0, out_shardings=shardings)
