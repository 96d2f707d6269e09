"""Floating-point operations: what the method needs by hand count, and what a program does.

A product of `(m, k)` and `(k, n)` counts 2 m k n; all else, norms and activations, is left out of
both counts, as is usual: it is about a percent.
"""

import math
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params

from dstadapter_jax.models.dstadapter import ModelConfig


def needed_flops(cfg: ModelConfig, mode: str, tune: str) -> int:
    """What one clip needs at least, counted by hand.

    Recomputation isn't counted: it is a way to save memory, not part of the method.

    Args:
        cfg: Sizes.
        mode: `eval`, a forward pass, or `train`, with the backward pass too.
        tune: What is trained.
    """
    n, d, r = 1 + cfg.grid**2, cfg.width, cfg.bottleneck
    patches = n - 1
    adapter = 2 * 2 * patches * d * r  # its two linear layers; gate and convolution are nothing
    mlp = 2 * 2 * d * 4 * d  # a token
    # Queries, keys, values and the output; scores and weighted values.
    attention = n * 2 * 4 * d * d + 2 * 2 * n * n * d
    block = 2 * adapter + attention + n * mlp
    # The last block asks with its class token alone.
    last_attention = 2 * (n * 2 * d * d + 2 * d * d) + 2 * 2 * n * d
    last = adapter + last_attention + mlp
    embed = 2 * patches * 3 * cfg.patch_size**2 * d
    frozen_in_adapter = (cfg.layers - 1) * (block - 2 * adapter) + last - adapter
    adapters = (2 * cfg.layers - 1) * adapter
    head = 2 * d * cfg.num_classes
    forward = cfg.num_frames * (embed + frozen_in_adapter + adapters) + head
    if mode == "eval":
        return forward
    # A product's backward pass is two as large: one to its input, one to its weights. Scores and
    # weighted values have no weights, but two inputs.
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
    """What the products of a traced program come to; loops count as often as they run.

    XLA's own figure, `cost_analysis()`, counts the body of a loop once.

    Args:
        program: A function that `jax.jit` takes.
        arguments: Arrays, or their shapes.
    """
    return _of_jaxpr(jax.make_jaxpr(program)(*arguments).jaxpr)


def _of_jaxpr(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            sizes = equation.invars[0].aval.shape
            products = math.prod(equation.outvars[0].aval.shape)
            total += 2 * products * math.prod(sizes[axis] for axis in contracted)
        times = equation.params.get("length", 1)  # of a scan
        total += times * sum(map(_of_jaxpr, jaxprs_in_params(equation.params)))
    return total
