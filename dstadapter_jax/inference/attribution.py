"""Why a clip is taken for a sign: what each frame says for it, and which patches that comes from.

*Frames, exactly.* The logits are linear in the mean over frames of the class tokens f_t. Adding the
same to all logits changes no probability, so that a class's weights w_c alone say nothing; what
counts is c against the mean of all classes, or against one other class o:

    logit_c - mean_k logit_k = bias + sum_t votes_t,    votes_t = (w_c - mean_k w_k) · f_t / T
    logit_c - logit_o        = bias + sum_t votes_t,    votes_t = (w_c - w_o) · f_t / T

*Patches, by gradient-weighted attention roll-out.* Relevance starts at the class tokens, a frame's
share being its vote where that is positive, and goes back through the blocks, each a mixing of
tokens whose rows sum to 1, so that none is lost or made:

    attention         r <- r N(I + mean over heads of (A ⊙ dv/dA)+)
    temporal adapter  r <- r N(|x_t| + |g ⊙ W tap_t|  for the patch itself,
                               |g ⊙ W tap_t±1|        for the same patch one frame before or after)

N divides rows by their sums, A are the attention's weights, v is the sum of the votes, x the
adapter's input, tap what its convolution takes from a frame, W its second layer, g its gate. The
attention's rule is Chefer, Gur and Wolf's (ICCV 2021, rules 5 and 6), its rows normalized as in
Abnar and Zuidema's roll-out (ACL 2020); to weigh the parts of a residual sum by their norms is
Kobayashi, Kuribayashi, Yokoi and Inui's (EMNLP 2021). MLPs and 1x1x1 adapters keep tokens apart.
What stays on the class tokens to the end tells of no patch and is left out.

What this is not: a roll-out follows where the network looks, not what would happen if a patch were
different. Biases, what gates owe to the clip, evidence against the class, and the mixing of
adjacent patches by a (1, 3, 3) spatial kernel aren't followed. How much the map is worth for a
model is found by occluding patches, as tests/test_attribution.py does it for the demo's.
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

from dstadapter_jax.data.preprocess import normalize
from dstadapter_jax.models.dstadapter import Adapter, Block, DSTAdapter
from dstadapter_jax.models.layers import Hook

Intermediates = dict[tuple[str, str], Any]  # what a hook saw, by module and name

WEIGHTS = ("attn", "weights")


class Attribution(NamedTuple):
    """Why clips are taken for their classes; b clips, t frames, h w patches.

    Attributes:
        logits: `(b, classes)`, as the model gives them.
        votes: `(b, t)`, what each frame adds to the class's logit against the others.
        patches: `(b, t, h, w)`, shares of relevance; sum to 1 over a clip.
        temporal_gates: `(b, layers, d)`, of the temporal adapters, in (0, 1).
        spatial_gates: `(b, layers - 1, d)`; the last layer's reaches no logit.
        temporal_mixing: `(b, layers)`, mean share of a patch that its temporal adapter took
            from the previous and the next frame.
    """

    logits: jax.Array
    votes: jax.Array
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
    """Explains classes of views by one compiled program, whose weights are its arguments.

    Args:
        model: Trained.
        views: `(b, t, h, w, 3)` uint8, as preprocessing gives them.
        labels: `(b,)` ids of the classes to explain.
        against: `(b,)` ids of other classes: why this one and not that one. Without them, why this
            one and not the mean of all.

    Returns:
        NumPy arrays.

    Raises:
        ValueError: An id that the model hasn't got, or not one a view.
    """
    classes, count = model.cfg.num_classes, len(views)
    ids = [np.asarray(given) for given in (labels, against) if given is not None]
    for given in ids:
        if given.shape != (count,) or ((given < 0) | (given >= classes)).any():
            raise ValueError(
                f"labels: expected {count} ids from 0 to {classes - 1}, one a view, found {given}."
            )
    graphdef, weights = nnx.split(model)
    return jax.tree.map(np.asarray, _compiled(graphdef, weights, views, *ids))


@functools.partial(jax.jit, static_argnums=0)
def _compiled(graphdef: nnx.GraphDef, weights: nnx.State, views: jax.Array, *ids: jax.Array) -> Any:
    return attribute(nnx.merge(graphdef, weights), normalize(views), *ids)


def attribute(
    model: DSTAdapter, clips: jax.Array, labels: jax.Array, against: jax.Array | None = None
) -> Attribution:
    """As `explain`, of normalized clips, for `jax.jit`.

    Blocks are gone through twice: forwards, keeping each one's input, and backwards, with the
    gradient and the relevance of its output. Only one block's attention is held at a time.
    """
    frames = model.cfg.num_frames
    direction = _direction(model.head.kernel.get_value(), labels, against)
    x, inputs = model.encode(model.embed(clips), return_intermediates=True)

    features, pull, last = _vjp_with_intermediates(model.frame_features, x)
    votes = jnp.einsum("btd,bd->bt", features, direction) / frames
    gradient, of_weights = pull(jnp.broadcast_to(direction[:, None] / frames, features.shape))
    start = jnp.zeros(x.shape[:2]).at[:, 0].set(_shares(jax.nn.relu(votes), axes=1).ravel())
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
        votes=votes,
        patches=_shares(patches, axes=(1, 2, 3)),
        temporal_gates=jnp.concatenate([by_clip[0], last_gate[:, None]], axis=1),
        spatial_gates=by_clip[1],
        temporal_mixing=jnp.concatenate([by_clip[2], temporal_mixing[:, None]], axis=1),
    )


def _direction(kernel: jax.Array, labels: jax.Array, against: jax.Array | None) -> jax.Array:
    """What the votes are products with, `(b, d)`, from the classifier's `(d, classes)`."""
    other = kernel.mean(axis=1) if against is None else kernel.T[against]
    return kernel.T[labels] - other


def _shares(values: jax.Array, axes: int | tuple[int, ...]) -> jax.Array:
    """Values from 0 as shares of their sum; equal ones where all are 0."""
    total = values.sum(axis=axes, keepdims=True)
    equal = 1 / (values.size // total.size)
    return jnp.where(total > 0, values / jnp.where(total > 0, total, 1), equal)


def _vjp_with_intermediates(
    function: Callable[[jax.Array, Hook], jax.Array], x: jax.Array
) -> tuple[jax.Array, Callable[[jax.Array], tuple[jax.Array, jax.Array]], Intermediates]:
    """Calls `function(x, hook)`.

    Returns:
        Its result; what takes the gradient by that to those by x and by the attention's weights;
        and what the hook saw.
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
    """Takes relevance `(b t) n` from a block's output to its input x; and the temporal mixing."""
    relevance = _through_attention(relevance, seen[WEIGHTS] * of_weights)
    taps, gate = (seen["t_adapter", name] for name in ("taps", "gate"))
    return _through_time(relevance, _time_shares(block.t_adapter, x, taps, gate))


def _through_attention(relevance: jax.Array, carried: jax.Array) -> jax.Array:
    """Takes relevance to where attention brought it from: `(b t) n`, `(b t heads) q n`.

    Where the class tokens alone ask, q = 1, they alone have relevance.
    """
    heads = len(carried) // len(relevance)
    mixing = rearrange(jax.nn.relu(carried), "(f heads) q n -> f heads q n", heads=heads)
    mixing = mixing.mean(axis=1) + jnp.eye(carried.shape[1], carried.shape[2])
    mixing /= mixing.sum(axis=-1, keepdims=True)
    return jnp.einsum("fq,fqn->fn", relevance[:, : mixing.shape[1]], mixing)


def _time_shares(
    adapter: Adapter, x: jax.Array, taps: list[jax.Array], gate: jax.Array
) -> jax.Array:
    """Shares of each patch from the frame before, its own and the one after: `3 b t p`."""
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
    # Beyond the clip's ends there is nothing to take: before[:, 0] and after[:, -1] are 0.
    patches = own.at[:, :-1].add(before[:, 1:]).at[:, 1:].add(after[:, :-1])
    patches = rearrange(patches, "b t p -> (b t) p")
    relevance = jnp.concatenate([relevance[:, :1], patches], axis=1)
    return relevance, (shares[0] + shares[2]).mean(axis=(1, 2))
