"""DSTAdapter: a frozen CLIP image tower with divided temporal and spatial adapters.

Shapes are written `(b t) n d`: frames folded into the batch (b outer), n = 1 class token + the
patches of one frame in row-major order, d = width. Comments explain where the computation is
rearranged relative to the released PyTorch code.
"""

import functools

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.typing import ArrayLike

from dstadapter_jax.models.config import (
    BOTTLENECK_RATIO,
    REMAT_POLICIES,
    SAVED_ACTIVATION,
    ModelConfig,
)
from dstadapter_jax.models.layers import (
    Hook,
    depthwise_conv,
    identity_hook,
    layer_norm,
    linear,
    quick_gelu,
    up_projection,
)
from dstadapter_jax.parallel.mesh import all_gather_weights


class ChannelGate(nnx.Module):
    """Gate per clip and channel: `sigmoid(W2 relu(W1 v))`, where v is the mean activation."""

    def __init__(self, cfg: ModelConfig, *, rngs: nnx.Rngs):
        hidden = cfg.width // BOTTLENECK_RATIO
        self.fc1 = linear(cfg.width, hidden, cfg, rngs, use_bias=False, dtype="float32")
        self.fc2 = linear(hidden, cfg.width, cfg, rngs, use_bias=False, dtype="float32")

    def __call__(self, mean: jax.Array) -> jax.Array:
        """Map means `(b, d)` to gates `(b, d)` in (0, 1), float32."""
        return jax.nn.sigmoid(self.fc2(jax.nn.relu(self.fc1(mean))))


class Adapter(nnx.Module):
    """Bottleneck with a depthwise 3-D convolution and a channel gate, for patch tokens only.

    An exact identity at initialization, since the convolution and all biases are zero.
    """

    def __init__(self, cfg: ModelConfig, kernel: tuple[int, int, int], *, rngs: nnx.Rngs):
        self.cfg = cfg
        self.fc1 = linear(cfg.width, cfg.bottleneck, cfg, rngs)
        self.conv_kernel = nnx.Param(jnp.zeros((*kernel, cfg.bottleneck), jnp.float32))
        self.conv_bias = nnx.Param(jnp.zeros(cfg.bottleneck, jnp.float32))
        self.fc2 = linear(cfg.bottleneck, cfg.width, cfg, rngs, dot_general=up_projection)
        self.gate = ChannelGate(cfg, rngs=rngs)

    def __call__(self, x: jax.Array, hook: Hook = identity_hook) -> jax.Array:
        """Map `(b t) n d` to the same shape; the hook receives `taps` and `gate` `(b, d)`."""
        clip = {"t": self.cfg.num_frames, "h": self.cfg.grid}
        h = checkpoint_name(self.fc1(x[:, 1:]), SAVED_ACTIVATION)
        h = rearrange(h, "(b t) (h w) c -> b t h w c", **clip)
        kernel, bias = self.conv_kernel.astype(h.dtype), self.conv_bias.astype(h.dtype)
        h = depthwise_conv(h, kernel, bias, hook)
        # The mean over positions commutes with fc2: pool where there are 16 times fewer channels.
        pooled = h.astype(jnp.float32).mean(axis=(1, 2, 3))
        g = hook("gate", self.gate(pooled @ self.fc2.kernel + self.fc2.bias))
        h = self.fc2(h) * g.astype(h.dtype)[:, None, None, None, :]
        h = rearrange(h, "b t h w d -> (b t) (h w) d")
        return jnp.concatenate([x[:, :1], x[:, 1:] + h], axis=1)


class Attention(nnx.Module):
    """Multi-head self-attention over the tokens of one frame."""

    def __init__(self, cfg: ModelConfig, *, rngs: nnx.Rngs):
        self.heads = cfg.heads
        self.query = linear(cfg.width, cfg.width, cfg, rngs)
        self.key_value = linear(cfg.width, 2 * cfg.width, cfg, rngs)
        self.out = linear(cfg.width, cfg.width, cfg, rngs)

    def __call__(
        self, x: jax.Array, *, class_token_only: bool = False, hook: Hook = identity_hook
    ) -> jax.Array:
        """Map `f n d` to `f n d`, or to `f 1 d` if only the class token is a query.

        The hook receives `weights`, `(f heads) q n` float32, for q queries.
        """
        # Heads are folded into the batch: plain batched products are several times faster on CPUs
        # than an einsum over (f, n, heads, d), and equivalent on accelerators.
        query = checkpoint_name(self.query(x[:, :1] if class_token_only else x), SAVED_ACTIVATION)
        query = rearrange(query, "f q (heads d) -> (f heads) q d", heads=self.heads)
        key_value = checkpoint_name(self.key_value(x), SAVED_ACTIVATION)
        key, value = rearrange(
            key_value, "f n (two heads d) -> two (f heads) n d", two=2, heads=self.heads
        )
        scores = jnp.matmul(
            query * query.shape[-1] ** -0.5, key.mT, preferred_element_type=jnp.float32
        )
        weights = hook("weights", jax.nn.softmax(scores, axis=-1)).astype(value.dtype)
        return self.out(
            rearrange(weights @ value, "(f heads) q d -> f q (heads d)", heads=self.heads)
        )


class MLP(nnx.Module):
    """Two linear layers with QuickGELU in between."""

    def __init__(self, cfg: ModelConfig, *, rngs: nnx.Rngs):
        self.fc1 = linear(cfg.width, 4 * cfg.width, cfg, rngs)
        self.fc2 = linear(4 * cfg.width, cfg.width, cfg, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `… d` to `… d`."""
        return self.fc2(quick_gelu(checkpoint_name(self.fc1(x), SAVED_ACTIVATION)))


class Block(nnx.Module):
    """A frozen CLIP block with a temporal adapter before it and a spatial one after attention."""

    def __init__(self, cfg: ModelConfig, *, rngs: nnx.Rngs):
        self.t_adapter = Adapter(cfg, (3, 1, 1), rngs=rngs)
        self.ln_1 = layer_norm(cfg, rngs)
        self.attn = Attention(cfg, rngs=rngs)
        self.s_adapter = Adapter(cfg, cfg.spatial_kernel, rngs=rngs)
        self.ln_2 = layer_norm(cfg, rngs)
        self.mlp = MLP(cfg, rngs=rngs)

    def __call__(self, x: jax.Array, hook: Hook = identity_hook) -> jax.Array:
        """Map `(b t) n d` to the same shape."""
        x = self.t_adapter(x, functools.partial(hook, "t_adapter"))
        y = self.attn(self.ln_1(x), hook=functools.partial(hook, "attn"))
        x = x + self.s_adapter(y, functools.partial(hook, "s_adapter"))
        return x + self.mlp(self.ln_2(x))

    def class_token(self, x: jax.Array, hook: Hook = identity_hook) -> jax.Array:
        """Compute the block's output for class tokens only, `(b t) n d` -> `(b t) 1 d`.

        The spatial adapter does not change class tokens and is skipped.
        """
        x = self.t_adapter(x, functools.partial(hook, "t_adapter"))
        attn = functools.partial(self.attn, class_token_only=True)
        x = x[:, :1] + attn(self.ln_1(x), hook=functools.partial(hook, "attn"))
        return x + self.mlp(self.ln_2(x))


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
                `data.preprocess.normalize`.
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
