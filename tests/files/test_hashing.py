"""Tests of hashes of files, JSON documents and arrays."""

import hashlib
import zlib

import numpy as np

from dstadapter_jax.files.hashing import checksum_arrays, checksum_json, file_sha256


def test_file_sha256_of_large_file_equals_hashlib(tmp_path):
    path = tmp_path / "w"
    path.write_bytes(b"abc" * 1_000_000)
    assert file_sha256(path) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()


def test_checksum_json_ignores_order_of_keys_only():
    assert checksum_json({"a": 1, "b": [2, 3]}) == checksum_json({"b": [2, 3], "a": 1})
    assert checksum_json({"a": [2, 3]}) != checksum_json({"a": [3, 2]})


def test_checksum_arrays_is_independent_of_memory_order():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = checksum_arrays({"a": {"b": np.asfortranarray(array)}})
    assert found == {"['a']['b']": zlib.crc32(array.tobytes())}
