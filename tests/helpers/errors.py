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
        **fields: Attribute name to a text that the attribute must contain, or to several of them;
            an attribute that is not text must be equal.
    """
    with pytest.raises(kind) as caught:
        yield caught
    for name, expected in fields.items():
        found = getattr(caught.value, name)
        if isinstance(found, str):
            for part in (expected,) if isinstance(expected, str) else expected:
                assert part in found, f"{name}: expected {part!r}, found {found!r}"
        else:
            assert found == expected, f"{name}: expected {expected!r}, found {found!r}"
