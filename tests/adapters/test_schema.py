"""Schema of spotting settings; `test_file.py` has the tests of the adapter document."""

import msgspec
import pytest

from dstadapter_jax.adapters.schema import parse_spotting
from dstadapter_jax.adapters.validation import SchemaError
from tests.helpers.errors import raises
from tests.helpers.streams import SETTINGS


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"format_version": 2}, "format_version"),
        ({"window_seconds": []}, "window_seconds"),
        ({"window_seconds": [1.0, 0.5]}, "window_seconds"),
        ({"window_seconds": [1e9]}, "window_seconds"),
        ({"weights": [1.0]}, "weights"),
        ({"weights": [1.0, float("nan")]}, "weights"),
        ({"bias": True}, "bias"),
        ({"bias": 10**400}, "bias"),
        ({"window_seconds": [0.5, 0.5]}, "window_seconds"),
        ({"metrics": {"test": {"num_signs": "all"}}}, "metrics"),
        ({"metrics": {"\x1b[31m": {}}}, ""),
        ({"weights": [1e300, 1.0]}, "weights"),
        ({"window_seconds": [1e-300]}, "window_seconds"),
        ({"more": 1}, ""),
    ],
)
def test_parse_spotting_with_invalid_fields_raises(change, where):
    with raises(SchemaError, where=where):
        parse_spotting(msgspec.to_builtins(SETTINGS) | change, 2)
