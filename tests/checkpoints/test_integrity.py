"""Tests of error wrapping, and of shapes and dtypes."""

import pathlib

import jax
import numpy as np
import pytest

from dstadapter_jax.checkpoints.integrity import CheckpointError, check_shapes, wrap_errors
from tests.helpers.errors import raises


def test_check_shapes_of_other_dtype_names_both():
    saved, target = ({"w": np.zeros(3, dtype)} for dtype in ("float32", "float64"))
    with raises(CheckpointError, problem=("w", "(3,) float32", "(3,) float64")):
        check_shapes(pathlib.Path("run/checkpoints/7"), saved, target)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("1 TB"),
        jax.errors.JaxRuntimeError("UNAVAILABLE"),
        ValueError("UNKNOWN: Gloo AllGather failed"),
    ],
)
def test_wrap_errors_passes_memory_and_runtime_errors(error):
    with pytest.raises(type(error)) as raised, wrap_errors("DIR", "reading", "Check the disk."):
        raise error
    assert raised.value is error
