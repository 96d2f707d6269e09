"""One update of the trainable weights, as a pure function."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import optax
from flax import nnx


class TrainState(NamedTuple):
    """All that a step changes."""

    step: jax.Array
    trainable: dict
    optimizer: optax.OptState


def make_train_step(
    graphdef: nnx.GraphDef, optimizer: optax.GradientTransformation
) -> Callable[..., tuple[TrainState, jax.Array]]:
    """The update for one batch.

    Returns:
        `(state, frozen, clips, labels, key) -> (state, loss)` with `clips` `(B, T, H, W, 3)`
        normalised, `labels` `(B,)`; the dropout mask follows from the key and the step.
    """

    def train_step(
        state: TrainState, frozen: dict, clips: jax.Array, labels: jax.Array, key: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        def loss_of(trainable: dict) -> jax.Array:
            # Gradients are taken over the trainable part alone, so that none of the frozen weights'
            # is ever computed.
            model = nnx.merge(graphdef, trainable, frozen)
            logits = model(clips, train=True, key=jax.random.fold_in(key, state.step))
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        loss, gradients = jax.value_and_grad(loss_of)(state.trainable)
        updates, moments = optimizer.update(gradients, state.optimizer, state.trainable)
        trainable = optax.apply_updates(state.trainable, updates)
        return TrainState(state.step + 1, trainable, moments), loss

    return train_step
