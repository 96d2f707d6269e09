"""A block of the network: frozen attention and MLP of CLIP, with temporal and spatial adapters.

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

from dstadapter_jax.models.config import BOTTLENECK_RATIO, SAVED_ACTIVATION, ModelConfig
from dstadapter_jax.models.layers import (
    ACTIVATION_FUNCTIONS,
    Hook,
    depthwise_conv,
    identity_hook,
    layer_norm,
    linear,
    up_projection,
)


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
    """Two linear layers with the activation in between."""

    def __init__(self, cfg: ModelConfig, *, rngs: nnx.Rngs):
        self.activation = ACTIVATION_FUNCTIONS[cfg.activation]
        self.fc1 = linear(cfg.width, 4 * cfg.width, cfg, rngs)
        self.fc2 = linear(4 * cfg.width, cfg.width, cfg, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `… d` to `… d`."""
        return self.fc2(self.activation(checkpoint_name(self.fc1(x), SAVED_ACTIVATION)))


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
