"""One update of the trainable weights, as a pure function."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
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
    """All that a step changes."""

    step: jax.Array
    trainable: dict
    optimizer: optax.OptState


def make_train_step(
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    prepare: Callable[[jax.Array], jax.Array],
) -> Callable[..., tuple[TrainState, jax.Array]]:
    """The update for one batch, which comes in A microbatches whose gradients are averaged.

    Args:
        graphdef: Of the model.
        optimizer: Of its trainable part.
        prepare: From clips as they are given to what the model takes, for one microbatch, so that
            only its pixels are ever held in float32.

    Returns:
        `(state, frozen, clips, labels, key) -> (state, loss)` with `clips` `(A, B, T, H, W, 3)` and
        `labels` `(A, B)`. The dropout mask follows from the key, the step and a clip's place in the
        batch, so that neither A nor the devices change it.
    """

    def train_step(
        state: TrainState, frozen: dict, clips: jax.Array, labels: jax.Array, key: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        def loss_of(
            trainable: dict, clips: jax.Array, labels: jax.Array, mask: jax.Array
        ) -> jax.Array:
            # Gradients are taken over the trainable part alone, so that none of the frozen weights'
            # is ever computed.
            model = nnx.merge(graphdef, trainable, frozen)
            logits = model.head(model.apply_dropout(model.features(prepare(clips)), mask))
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        # Each device sums up its own clips' gradients, and these are averaged once, at the end.
        # Left to itself, the compiler sends what each product of each microbatch adds to them.
        of_parts = jax.vmap(jax.value_and_grad(loss_of), in_axes=(None, 0, 0, 0))
        devices = device_count()

        def accumulate(
            sums: tuple[jax.Array, dict], microbatch: tuple[jax.Array, ...]
        ) -> tuple[tuple[jax.Array, dict], None]:
            parts = [rows.reshape(devices, -1, *rows.shape[1:]) for rows in microbatch]
            found = of_parts(state.trainable, *map(constrain_batch, parts))
            return jax.tree.map(lambda a, b: constrain_batch(a + b), sums, found), None

        count, size = labels.shape
        model = nnx.merge(graphdef, state.trainable, frozen)
        mask = model.dropout_mask(jax.random.fold_in(key, state.step), count * size)
        zeros = jax.tree.map(
            lambda leaf: constrain_batch(jnp.zeros((devices, *leaf.shape))),
            (jnp.zeros(()), state.trainable),
        )
        microbatches = (clips, labels, mask.reshape(count, size, -1))
        sums, _ = jax.lax.scan(accumulate, zeros, microbatches)
        loss, gradients = jax.tree.map(lambda total: total.mean(axis=0) / count, sums)
        updates, moments = optimizer.update(gradients, state.optimizer, state.trainable)
        trainable = optax.apply_updates(state.trainable, updates)
        return TrainState(state.step + 1, trainable, moments), loss

    return train_step


def jit_train_step(
    train_step: Callable[..., tuple[TrainState, jax.Array]], mesh: Mesh, state: TrainState
) -> Callable[..., tuple[TrainState, jax.Array]]:
    """Compiles the update for a mesh; the state that is passed in is given up."""
    shardings = parameter_sharding(mesh, state), replicated(mesh)
    return jax.jit(traced_under(mesh, train_step), donate_argnums=0, out_shardings=shardings)
