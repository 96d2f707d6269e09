"""Hashes of files, JSON documents and arrays."""

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np


def checksum_json(content: Any) -> str:
    """SHA-256 of a JSON document, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def checksum_arrays(tree: Any) -> dict[str, int]:
    """CRC-32 of each array of a tree of complete NumPy arrays, by path; the same on every mesh."""
    return {
        jax.tree_util.keystr(path): zlib.crc32(np.ascontiguousarray(array).data)
        for path, array in jax.tree.leaves_with_path(tree)
    }


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
