"""Integrity of checkpoints: typed errors, checksums, shapes and dtypes."""

import pathlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from dstadapter_jax.errors import UserError
from dstadapter_jax.parallel.hosts import is_jax_runtime_error

MAX_LISTED = 5


class CheckpointError(UserError):
    """A checkpoint that can't be written or read."""


class CorruptCheckpointError(CheckpointError):
    """A checkpoint whose content differs from the content that was saved."""


@contextmanager
def wrap_errors(
    where: str, doing: str, advice: str, kind: type[CheckpointError] = CheckpointError
) -> Iterator[None]:
    """Turn any error of Orbax into one readable `CheckpointError`.

    Errors that are not the disk's pass unchanged: a dead process of the run, and lack of memory.
    """
    try:
        yield
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:
        if is_jax_runtime_error(error):
            raise
        problem = f"{doing} failed: {truncate_message(error)}"
        raise kind(where, problem=problem, advice=advice) from error


def truncate_message(error: BaseException | None) -> str:
    """Type and shortened message of an error, in one line: Orbax's messages fill a page."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    # Orbax's messages end with the operating system's reason: keep both ends.
    return text if len(text) <= 500 else f"{text[:250]} … {text[-250:]}"


def check_checksums(saved: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise ValueError with the names of items whose checksums differ."""
    differing = [name for name in saved if saved[name] != found[name]]
    if differing:
        names = ", ".join(differing[:MAX_LISTED])
        raise ValueError(f"content differs from the content that was saved: {names}")


def check_shapes(step: pathlib.Path, saved: Any, target: dict) -> None:
    """Raise CheckpointError if saved weights do not fit; Orbax's error prints both trees."""
    found, expected = _shapes(saved), _shapes(target)
    differing = [
        f"{name}: expected {expected.get(name, 'none')}, found {found.get(name, 'none')}"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]
    if differing:
        raise CheckpointError(
            str(step),
            problem=f"does not fit the model, {len(differing)} weights differ:"
            f" {'; '.join(differing[:MAX_LISTED])}",
        )


def _shapes(tree: Any) -> dict[str, str]:
    """Shape and dtype of each leaf, by path."""
    leaves = jax.tree.leaves_with_path(dict(tree))
    return {
        "/".join(str(key.key) for key in path): f"{tuple(leaf.shape)} {np.dtype(leaf.dtype)}"
        for path, leaf in leaves
    }
