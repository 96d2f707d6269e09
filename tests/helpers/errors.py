"""Checks of errors by their type and fields, so that no test depends on the wording of messages."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from dstadapter_jax.errors import UserError


@contextlib.contextmanager
def raises(kind: type[UserError] = UserError, **fields: Any) -> Iterator[pytest.ExceptionInfo]:
    """Expects an error whose fields contain the given texts.

    Args:
        kind: The error's type.
        **fields: Attribute name to a text that it must contain, or to several of them; a value
            that is not text must be equal.
    """
    with pytest.raises(kind) as caught:
        yield caught
    for name, expected in fields.items():
        found = getattr(caught.value, name)
        parts = expected if isinstance(expected, tuple | list) else (expected,)
        for part in parts:
            assert (part in found) if isinstance(found, str) else (part == found), (
                f"{name}: expected {part!r}, found {found!r}"
            )
