"""What the network's modules are made of: layers as CLIP has them, fast forms of small products."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dstadapter_jax.models.config import ModelConfig

# Called as `hook(place, …, value)` where a module has computed something that explanations need:
# sees it, and gives back what the network is to go on with. (`nnx.Module.sow` would leave its
# values in the modules, where every pass and every checkpoint met them.)
Hook = Callable[..., Any]


def identity_hook(*place_and_value: Any) -> Any:
    """The hook of an ordinary pass: gives the value back, and so adds nothing to the program."""
    return place_and_value[-1]


def quick_gelu(x: jax.Array) -> jax.Array:
    """CLIP's activation, `x * sigmoid(1.702 x)`."""
    return x * jax.nn.sigmoid(1.702 * x)


def depthwise_conv(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, hook: Hook = identity_hook
) -> jax.Array:
    """Depthwise 3-D cross-correlation with zero 'same' padding, as shifted multiply-adds.

    A grouped convolution of so few taps is some fifty times slower on CPUs.

    Args:
        x: `(b, t, h, w, c)`.
        kernel: `(kt, kh, kw, c)`, odd sides.
        bias: `(c,)`.
        hook: Gets `taps`, what each place takes from each of its neighbors, a list in the order
            of the kernel's `(kt, kh, kw)`, each of the output's shape.

    Returns:
        `(b, t, h, w, c)`.
    """
    sides = kernel.shape[:3]
    padded = jnp.pad(x, [(0, 0), *[(side // 2, side // 2) for side in sides], (0, 0)])
    taps = [
        kernel[offset] * jax.lax.dynamic_slice(padded, (0, *offset, 0), x.shape)
        for offset in np.ndindex(sides)
    ]
    return sum(hook("taps", taps), start=bias)


@jax.custom_vjp
def _widen(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.matmul(x, kernel)


def _widen_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return _widen(x, kernel), (x, kernel)


def _widen_backward(
    saved: tuple[jax.Array, ...], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    rows, gradients = (values.reshape(-1, values.shape[-1]) for values in (x, gradient))
    return gradient @ kernel.T, rows.T @ gradients


_widen.defvjp(_widen_forward, _widen_backward)


def up_projection(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    """The product of `(…, few)` and `(few, many)`, as `nnx.Linear` takes it for a `dot_general`.

    By JAX's own rule the kernel's gradient transposes the output's gradient; here it transposes the
    input, which has 16 times fewer channels: 5 % of a training step on CPUs.
    """
    return _widen(x, kernel)


def linear(
    in_features: int,
    out_features: int,
    cfg: ModelConfig,
    rngs: nnx.Rngs,
    *,
    use_bias: bool = True,
    dtype: str | None = None,
    std: float = 0.02,
    dot_general: Callable[..., jax.Array] = jax.lax.dot_general,
) -> nnx.Linear:
    """A linear layer that computes in the config's type unless told."""
    # The reference cuts its normals at ±2, a hundred standard deviations away: plain normals.
    return nnx.Linear(
        in_features,
        out_features,
        use_bias=use_bias,
        dtype=jnp.dtype(dtype or cfg.dtype),
        kernel_init=nnx.initializers.normal(std),
        dot_general=dot_general,
        rngs=rngs,
    )


def layer_norm(cfg: ModelConfig, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """CLIP's, in float32 whatever the rest computes in."""
    # Two-pass variance: CLIP's activations have outlier channels, where E[x²] - E[x]² loses digits.
    return nnx.LayerNorm(
        cfg.width, epsilon=1e-5, dtype=jnp.float32, use_fast_variance=False, rngs=rngs
    )
