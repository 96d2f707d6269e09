"""DSTAdapter: a frozen CLIP image tower with divided temporal and spatial adapters.

Shapes are written as in `blocks`.
"""

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax.typing import ArrayLike

from dstadapter_jax.models.blocks import Block
from dstadapter_jax.models.config import REMAT_POLICIES, ModelConfig
from dstadapter_jax.models.layers import Hook, identity_hook, layer_norm, linear
from dstadapter_jax.parallel.mesh import all_gather_weights


def _stack_blocks(cfg: ModelConfig, count: int, rngs: nnx.Rngs) -> Block:
    """Stack `count` blocks: one `Block` whose weights have a leading axis of layers."""
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: Block(cfg, rngs=nnx.Rngs(0))))
    states = jax.vmap(lambda key: nnx.state(Block(cfg, rngs=nnx.Rngs(key))))(
        jax.random.split(rngs.params(), count)
    )
    return nnx.merge(graphdef, states)


class DSTAdapter(nnx.Module):
    """Video classifier from clips to class logits.

    All blocks except the last are stacked and scanned, so that compile time does not grow with
    depth. The last block is separate and computes its class token only, since nothing else of it
    reaches the logits.
    """

    def __init__(self, cfg: ModelConfig, *, rngs: nnx.Rngs):
        self.cfg = cfg
        embedding = nnx.initializers.normal(cfg.width**-0.5)
        self.patch_embed = linear(3 * cfg.patch_size**2, cfg.width, cfg, rngs, use_bias=False)
        self.class_embedding = nnx.Param(embedding(rngs.params(), (cfg.width,)))
        self.positional_embedding = nnx.Param(
            embedding(rngs.params(), (1 + cfg.grid**2, cfg.width))
        )
        self.temporal_embedding = nnx.Param(jnp.zeros((cfg.num_frames, cfg.width), jnp.float32))
        self.ln_pre = layer_norm(cfg, rngs)
        self.blocks = _stack_blocks(cfg, cfg.layers - 1, rngs)
        self.last_block = Block(cfg, rngs=rngs)
        self.ln_post = layer_norm(cfg, rngs)
        self.head = linear(cfg.width, cfg.num_classes, cfg, rngs, dtype="float32", std=0.01)

    def __call__(
        self, clips: ArrayLike, *, train: bool = False, key: jax.Array | None = None
    ) -> jax.Array:
        """Classify clips.

        Args:
            clips: `(b, t, h, w, 3)` float RGB of the configured size, normalized by
                `data.normalization.normalize`.
            train: Whether to apply dropout.
            key: PRNG key for dropout; required if `train`.

        Returns:
            Logits `(b, num_classes)`, float32.
        """
        features = self.features(clips)
        if train and self.cfg.dropout:
            if key is None:
                raise ValueError(
                    "model(clips, train=True) draws a dropout mask: pass key=jax.random.key(…)."
                )
            features = self.apply_dropout(features, self.dropout_mask(key, len(features)))
        return self.head(features)

    def dropout_mask(self, key: jax.Array, batch: int) -> jax.Array:
        """Draw the dropout mask of the classifier's input, `(batch, d)` bool, True where kept."""
        return jax.random.bernoulli(key, 1 - self.cfg.dropout, (batch, self.cfg.width))

    def apply_dropout(self, features: jax.Array, mask: jax.Array) -> jax.Array:
        """Apply dropout to features `(b, d)` with a mask from `dropout_mask`."""
        return jnp.where(mask, features / (1 - self.cfg.dropout), 0)

    def features(self, clips: ArrayLike) -> jax.Array:
        """Compute the classifier's input, class tokens averaged over frames.

        Maps `(b, t, h, w, 3)` to `(b, d)` float32.
        """
        x, _ = self.encode(self.embed(jnp.asarray(clips)))
        return self.frame_features(x).mean(axis=1)

    def encode(
        self, x: jax.Array, *, return_intermediates: bool = False
    ) -> tuple[jax.Array, jax.Array | None]:
        """Apply all blocks except the last to tokens `(b t) n d`.

        Returns:
            Input of the last block, and with `return_intermediates` the inputs of the other blocks,
            `layers-1 (b t) n d`.
        """
        graphdef, layers = nnx.split(self.blocks)

        def layer(x: jax.Array, weights: nnx.State) -> tuple[jax.Array, jax.Array | None]:
            return nnx.merge(graphdef, all_gather_weights(weights))(
                x
            ), x if return_intermediates else None

        if self.cfg.remat != "none":
            # prevent_cse is for straight-line code; inside a scan it only costs.
            layer = jax.checkpoint(layer, prevent_cse=False, policy=REMAT_POLICIES[self.cfg.remat])
        return jax.lax.scan(layer, x, layers)

    def frame_features(self, x: jax.Array, hook: Hook = identity_hook) -> jax.Array:
        """Class token of each frame from the last block's input: `(b t) n d` -> `b t d` float32."""
        x = self.ln_post(self.last_block.class_token(x, hook))
        return rearrange(x, "(b t) 1 d -> b t d", t=self.cfg.num_frames)

    def embed(self, clips: jax.Array) -> jax.Array:
        """Embed clips as the first block's input: `(b, t, h, w, 3)` -> `(b t) n d`."""
        cfg = self.cfg
        size = (cfg.num_frames, cfg.input_resolution, cfg.input_resolution, 3)
        if clips.ndim != 5 or clips.shape[1:] != size:
            raise ValueError(
                "clips: expected shape (batch, frames, height, width, 3) ="
                f" (batch, {', '.join(map(str, size))}), found {clips.shape}."
            )
        x = rearrange(
            clips, "b t (h p) (w q) c -> b t (h w) (p q c)", p=cfg.patch_size, q=cfg.patch_size
        )
        # ln_pre computes in float32; so do the sums before it, whatever the products' dtype.
        x = self.patch_embed(x).astype(jnp.float32)
        token = jnp.broadcast_to(self.class_embedding.get_value(), (*x.shape[:2], 1, cfg.width))
        x = jnp.concatenate([token, x], axis=2)
        x = x + self.positional_embedding + self.temporal_embedding[:, None]
        return self.ln_pre(rearrange(x, "b t n d -> (b t) n d")).astype(cfg.dtype)
