"""Floating-point operations: the analytical count of the method, and the count of a program.

A matrix product of `(m, k)` and `(k, n)` counts 2 m k n. Norms and activations, about one percent,
are not counted.
"""

import math
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params

from dstadapter_jax.models.config import ModelConfig


def needed_flops(cfg: ModelConfig, mode: str, tune: str) -> int:
    """Analytical number of operations per clip, without recomputation.

    Args:
        cfg: Sizes of the model.
        mode: `eval` for a forward pass, `train` for forward and backward pass.
        tune: Trainable parameters, as in the config.
    """
    n, d, r = 1 + cfg.grid**2, cfg.width, cfg.bottleneck
    patches = n - 1
    adapter = 2 * 2 * patches * d * r  # two linear layers; gate and convolution are negligible
    mlp = 2 * 2 * d * 4 * d  # per token
    # Queries, keys, values and the output; scores and weighted values.
    attention = n * 2 * 4 * d * d + 2 * 2 * n * n * d
    block = 2 * adapter + attention + n * mlp
    # The class token is the last block's only query.
    last_attention = 2 * (n * 2 * d * d + 2 * d * d) + 2 * 2 * n * d
    last = adapter + last_attention + mlp
    embed = 2 * patches * 3 * cfg.patch_size**2 * d
    frozen_in_adapter = (cfg.layers - 1) * (block - 2 * adapter) + last - adapter
    adapters = (2 * cfg.layers - 1) * adapter
    head = 2 * d * cfg.num_classes
    forward = cfg.num_frames * (embed + frozen_in_adapter + adapters) + head
    if mode == "eval":
        return forward
    # The backward pass of a matrix product has two products of the same cost, for the gradients of
    # its input and of its weights; of attention's products, both operands are activations.
    inner = (cfg.layers - 1) * 4 * n * n * d + 4 * n * d
    match tune:
        case "head":
            backward = head
        case "adapter":
            backward = 2 * head + cfg.num_frames * (frozen_in_adapter + inner + 2 * adapters)
        case _:
            backward = 2 * forward - cfg.num_frames * embed  # pixels need no gradient
    return forward + backward


def program_flops(program: Any, *arguments: Any) -> int:
    """Number of operations of a traced program's matrix products, loop iterations included.

    XLA's `cost_analysis()` counts the body of a loop once.

    Args:
        program: Function to trace.
        arguments: Arrays or shapes.
    """
    return _jaxpr_flops(jax.make_jaxpr(program)(*arguments).jaxpr)


def _jaxpr_flops(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            sizes = equation.invars[0].aval.shape
            products = math.prod(equation.outvars[0].aval.shape)
            total += 2 * products * math.prod(sizes[axis] for axis in contracted)
        times = equation.params.get("length", 1)  # of a scan
        total += times * sum(map(_jaxpr_flops, jaxprs_in_params(equation.params)))
    return total
