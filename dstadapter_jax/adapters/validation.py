"""Validation of untrusted JSON documents against a schema, with errors that name the field."""

import json
import re
from typing import Any

import msgspec

from dstadapter_jax.errors import UserError, format_version_error

MAX_TEXT = 200  # characters of a short text, and of a value shown in a message


class SchemaError(UserError):
    """A document that violates its schema; `where` is the field."""


def load_json(text: str) -> Any:
    """Parse strict JSON, without NaN and Infinity."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SchemaError(
            "metadata", expected="a JSON document", found=f"none ({error})"
        ) from error


def parse(text: str, version: int) -> dict[str, Any]:
    """Parse a JSON document of a format version."""
    document = load_json(text)
    found = document.get("format_version") if isinstance(document, dict) else None
    if found != version:
        known = found if found is None or isinstance(found, int) else _shorten(found)
        raise format_version_error(SchemaError, "format_version", version, known)
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def validate(content: Any, kind: type) -> Any:
    """Convert parsed JSON to a document of `kind`; SchemaError names the first wrong field."""
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        message, _, path = str(error).partition(" - at `$.")
        path = path.rstrip("`")
        where = path or "metadata"
        expected, _, found = message.partition(", got ")
        if not expected.startswith("Expected "):  # an unknown or missing field, or an enum's value
            raise SchemaError(where, problem=_shorten_text(message)) from error
        expected = expected.removeprefix("Expected ")
        found = found or _shorten(_value_at(content, path))
        raise SchemaError(where, expected=expected, found=found) from error


def _value_at(content: Any, path: str) -> Any:
    """Value at the path in an error of msgspec.

    Stops at `[...]`, an unknown element, and returns the container.
    """
    for name in re.findall(r"[^.\[\]]+|\[\.\.\.\]", path):
        if name == "[...]":
            break
        content = content[int(name)] if isinstance(content, list | tuple) else content[name]
    return content


def construct(kind: type, fields: dict[str, Any]) -> Any:
    """Run a dataclass's own checks; their errors name a field of the config."""
    try:
        return kind(**fields)
    except UserError as error:
        raise SchemaError(
            f"config.{error.where}", expected=error.expected, found=_shorten_text(error.found)
        ) from error


def check(valid: bool, where: str, expected: str, found: Any) -> None:
    """Raise SchemaError unless a relation between fields is valid."""
    if not valid:
        raise SchemaError(where, expected=expected, found=_shorten(found))


def _shorten(found: Any) -> str:
    return _shorten_text(repr(found))


def _shorten_text(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} …"
