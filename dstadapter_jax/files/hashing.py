"""Checksums of a checkpoint's content, by which damage to its files is known.

Orbax's format guards its indices and not the arrays: a flipped bit would be restored as a weight.
"""

import hashlib
import json
import zlib
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def checksum_json(content: Any) -> str:
    """SHA-256 of a tree as JSON holds it, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def checksum_arrays(tree: Any) -> dict[str, int]:
    """CRC-32 of every array of a tree that `fetch` gave, by its path; the same on every mesh."""
    return {
        jax.tree_util.keystr(path): zlib.crc32(np.ascontiguousarray(array).data)
        for path, array in jax.tree.leaves_with_path(tree)
    }


def fetch_finite(tree: Any) -> Any:
    """What `fetch` gives; raises FloatingPointError if a number among it isn't finite."""
    whole = fetch(tree)
    if not all(np.isfinite(array).all() for array in jax.tree.leaves(whole)):
        raise FloatingPointError("weights or optimizer state aren't finite any more")
    return whole


def fetch(tree: Any) -> Any:
    """Whole arrays in this process's memory, also where each process holds a part of them."""
    if jax.process_count() > 1:
        return multihost_utils.process_allgather(tree, tiled=True)
    return jax.device_get(tree)
