"""Checksums of a checkpoint's content, by which damage to its files is known.

Orbax's format guards its indices and not the arrays: a flipped bit would be restored as a weight.
"""

import hashlib
import json
import math
from typing import Any

import jax
import jax.numpy as jnp


def checksum_json(content: Any) -> str:
    """SHA-256 of a tree as JSON holds it, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def checksum_arrays(tree: Any) -> dict[str, int]:
    """A 32-bit checksum of every array of a tree, by its path.

    Computed where the arrays lie, so that nothing is copied, and the same on every mesh.
    """
    sums = jax.device_get(_checksums(tree))
    paths = jax.tree.leaves_with_path(sums)
    return {jax.tree_util.keystr(path): int(value) for path, value in paths}


@jax.jit
def _checksums(tree: Any) -> Any:
    return jax.tree.map(_checksum, tree)


def _checksum(array: jax.Array) -> jax.Array:
    """The sum, modulo 2^32, of the bits of each number, 32 of them, mixed with its place."""
    place = jnp.zeros(array.shape, jnp.uint32)
    for axis in range(array.ndim):
        stride = jnp.uint32(math.prod(array.shape[axis + 1 :]))
        place += jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis) * stride
    bits = jax.lax.bitcast_convert_type(array, jnp.uint32)
    return _mix(bits ^ _mix(place + 1)).sum(dtype=jnp.uint32)


def _mix(bits: jax.Array) -> jax.Array:
    """The finalizer of MurmurHash3: one to one, and every bit moves every other."""
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> 13)) * jnp.uint32(0xC2B2AE35)
    return bits ^ (bits >> 16)
