"""Attribution of a prediction to frames and patches; docs/attribution.md defines both quantities.

Frame contributions are exact: the logits are linear in the mean of the frames' class tokens. Patch
relevance is a gradient-weighted attention roll-out (Chefer, Gur and Wolf, ICCV 2021, rules 5 and 6;
Abnar and Zuidema, ACL 2020; Kobayashi et al., EMNLP 2021).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from jax.typing import ArrayLike

from dstadapter_jax.data.normalization import normalize
from dstadapter_jax.errors import UserError
from dstadapter_jax.models.blocks import Adapter, Block
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.models.layers import Hook

Intermediates = dict[tuple[str, str], Any]  # values a hook received, by module and name

WEIGHTS = ("attn", "weights")


class Attribution(NamedTuple):
    """Attribution of the classes of b clips to t frames and h w patches.

    Attributes:
        logits: `(b, classes)`.
        frame_contributions: `(b, t)`, contribution of each frame to the logit difference.
        patches: `(b, t, h, w)`, shares of relevance; they sum to 1 over a clip.
        temporal_gates: `(b, layers, d)`, gates of the temporal adapters, in (0, 1).
        spatial_gates: `(b, layers - 1, d)`; the last layer's gate does not affect the logits.
        temporal_mixing: `(b, layers)`, mean share of a patch that its temporal adapter took
            from the previous and the next frame.
    """

    logits: jax.Array
    frame_contributions: jax.Array
    patches: jax.Array
    temporal_gates: jax.Array
    spatial_gates: jax.Array
    temporal_mixing: jax.Array


def explain(
    model: DSTAdapter,
    views: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    against: Sequence[int] | np.ndarray | None = None,
) -> Attribution:
    """Attribute classes of views to frames and patches, by one compiled program.

    Args:
        model: Trained model.
        views: `(b, t, h, w, 3)` uint8 from preprocessing.
        labels: `(b,)` ids of the classes to explain.
        against: `(b,)` ids of classes to compare with; by default the mean of all classes.

    Returns:
        Attribution with NumPy arrays.

    Raises:
        UserError: An id is out of range, or there is not one per view.
    """
    classes, count = model.cfg.num_classes, len(views)
    ids = [np.asarray(given) for given in (labels, against) if given is not None]
    for given in ids:
        if given.shape != (count,) or ((given < 0) | (given >= classes)).any():
            expected = f"{count} ids from 0 to {classes - 1}, one per view"
            raise UserError("labels", expected=expected, found=given)
    graphdef, weights = nnx.split(model)
    return jax.tree.map(np.asarray, _compiled(graphdef, weights, views, *ids))


@functools.partial(jax.jit, static_argnums=0)
def _compiled(graphdef: nnx.GraphDef, weights: nnx.State, views: jax.Array, *ids: jax.Array) -> Any:
    return attribute(nnx.merge(graphdef, weights), normalize(views), *ids)


def attribute(
    model: DSTAdapter, clips: jax.Array, labels: jax.Array, against: jax.Array | None = None
) -> Attribution:
    """Like `explain`, for normalized clips and `jax.jit`.

    The blocks are traversed twice: forward, saving their inputs, and backward, with the gradient
    and the relevance of their outputs. Only one block's attention is in memory at a time.
    """
    frames = model.cfg.num_frames
    kernel = model.head.kernel.get_value()
    direction = kernel.T[labels] - (kernel.mean(axis=1) if against is None else kernel.T[against])
    x, inputs = model.encode(model.embed(clips), return_intermediates=True)

    features, pull, last = _vjp_with_intermediates(model.frame_features, x)
    contributions = jnp.einsum("btd,bd->bt", features, direction) / frames
    gradient, of_weights = pull(jnp.broadcast_to(direction[:, None] / frames, features.shape))
    start = jnp.zeros(x.shape[:2]).at[:, 0].set(_shares(jax.nn.relu(contributions), axes=1).ravel())
    relevance, temporal_mixing = _through_block(start, model.last_block, x, last, of_weights)

    graphdef, layers = nnx.split(model.blocks)

    def backwards(carry: tuple[jax.Array, jax.Array], layer: Any) -> tuple[Any, Any]:
        relevance, gradient = carry
        block, x = nnx.merge(graphdef, layer[0]), layer[1]
        _, pull, seen = _vjp_with_intermediates(block, x)
        gradient, of_weights = pull(gradient)
        relevance, temporal_mixing = _through_block(relevance, block, x, seen, of_weights)
        gates = seen["t_adapter", "gate"], seen["s_adapter", "gate"]
        return (relevance, gradient), (*gates, temporal_mixing)

    carry, of_layers = jax.lax.scan(
        backwards, (relevance, gradient), (layers, inputs), reverse=True
    )
    by_clip = [jnp.moveaxis(of_layer, 0, 1) for of_layer in of_layers]
    patches = rearrange(carry[0][:, 1:], "(b t) (h w) -> b t h w", t=frames, h=model.cfg.grid)
    last_gate = last["t_adapter", "gate"]
    return Attribution(
        logits=model.head(features.mean(axis=1)),
        frame_contributions=contributions,
        patches=_shares(patches, axes=(1, 2, 3)),
        temporal_gates=jnp.concatenate([by_clip[0], last_gate[:, None]], axis=1),
        spatial_gates=by_clip[1],
        temporal_mixing=jnp.concatenate([by_clip[2], temporal_mixing[:, None]], axis=1),
    )


def _shares(values: jax.Array, axes: int | tuple[int, ...]) -> jax.Array:
    """Nonnegative values divided by their sum; equal shares where all are 0."""
    total = values.sum(axis=axes, keepdims=True)
    equal = 1 / (values.size // total.size)
    return jnp.where(total > 0, values / jnp.where(total > 0, total, 1), equal)


def _vjp_with_intermediates(
    function: Callable[[jax.Array, Hook], jax.Array], x: jax.Array
) -> tuple[jax.Array, Callable[[jax.Array], tuple[jax.Array, jax.Array]], Intermediates]:
    """Call `function(x, hook)` and record intermediate values.

    Returns:
        The result; its vector-Jacobian product with respect to x and the attention weights; and the
        intermediate values.
    """

    def run(x: jax.Array, nudge: ArrayLike) -> tuple[jax.Array, Intermediates]:
        seen: Intermediates = {}

        def hook(module: str, name: str, value: Any) -> Any:
            seen[module, name] = value
            return value + nudge if (module, name) == WEIGHTS else value

        return function(x, hook), seen

    shape = jax.eval_shape(lambda x: run(x, 0.0)[1][WEIGHTS], x).shape
    return jax.vjp(run, x, jnp.zeros(shape), has_aux=True)


def _through_block(
    relevance: jax.Array, block: Block, x: jax.Array, seen: Intermediates, of_weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Propagate relevance `(b t) n` from a block's output to its input.

    Also returns the temporal mixing.
    """
    relevance = _through_attention(relevance, seen[WEIGHTS] * of_weights)
    taps, gate = (seen["t_adapter", name] for name in ("taps", "gate"))
    return _through_time(relevance, _time_shares(block.t_adapter, x, taps, gate))


def _through_attention(relevance: jax.Array, carried: jax.Array) -> jax.Array:
    """Propagate relevance `(b t) n` through attention with weights `(b t heads) q n`.

    With class tokens as the only queries, q = 1, only they have relevance.
    """
    heads = len(carried) // len(relevance)
    mixing = rearrange(jax.nn.relu(carried), "(f heads) q n -> f heads q n", heads=heads)
    mixing = mixing.mean(axis=1) + jnp.eye(carried.shape[1], carried.shape[2])
    mixing /= mixing.sum(axis=-1, keepdims=True)
    return jnp.einsum("fq,fqn->fn", relevance[:, : mixing.shape[1]], mixing)


def _time_shares(
    adapter: Adapter, x: jax.Array, taps: list[jax.Array], gate: jax.Array
) -> jax.Array:
    """Shares of each patch from the previous, its own and the next frame: `3 b t p`."""
    gate = gate[:, None, None, None]
    parts = [jnp.linalg.norm((tap @ adapter.fc2.kernel) * gate, axis=-1) for tap in taps]
    before, center, after = (rearrange(part, "b t h w -> b t (h w)") for part in parts)
    own = jnp.linalg.norm(x[:, 1:].astype(jnp.float32), axis=-1)
    own = rearrange(own, "(b t) p -> b t p", t=before.shape[1])
    return _shares(jnp.stack([before, own + center, after]), axes=0)


def _through_time(relevance: jax.Array, shares: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Propagates relevance `(b t) n` to the source frames; also returns the temporal mixing."""
    patches = rearrange(relevance[:, 1:], "(b t) p -> b t p", t=shares.shape[2])
    before, own, after = patches * shares
    # There are no frames beyond the ends of the clip: before[:, 0] and after[:, -1] are 0.
    patches = own.at[:, :-1].add(before[:, 1:]).at[:, 1:].add(after[:, :-1])
    patches = rearrange(patches, "b t p -> (b t) p")
    relevance = jnp.concatenate([relevance[:, :1], patches], axis=1)
    return relevance, (shares[0] + shares[2]).mean(axis=(1, 2))
