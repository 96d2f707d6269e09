"""Tests of the format version of checkpoints."""

import pytest

from dstadapter_jax.checkpoints.integrity import CheckpointError
from dstadapter_jax.checkpoints.metadata import FORMAT_VERSION, check_version
from tests.helpers.errors import raises


@pytest.mark.parametrize(
    ("metadata", "found", "problem"),
    [
        ({"format_version": FORMAT_VERSION - 1}, str(FORMAT_VERSION - 1), "older"),
        ({"format_version": FORMAT_VERSION + 1}, str(FORMAT_VERSION + 1), "newer"),
        ({"step": 3}, "none", ""),
    ],
)
def test_check_version_of_other_version_names_both(metadata, found, problem):
    expected = f"version {FORMAT_VERSION}"
    with raises(CheckpointError, where="7", expected=expected, found=found, problem=problem):
        check_version("run/checkpoints/7", metadata)
