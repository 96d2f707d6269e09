"""Atomic writes: a file is replaced as a whole or not at all."""

import os
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def atomic_paths(*paths: pathlib.Path) -> Iterator[list[pathlib.Path]]:
    """Names to write files under, which take the places of `paths` once all is done.

    Killed meanwhile, it leaves the old files or the new ones, whole; after an error the old ones,
    and no drafts.
    """
    names = [path.with_name(path.name + ".tmp") for path in paths]
    try:
        yield names
        for name in names:
            with name.open("rb") as file:
                os.fsync(file.fileno())
        for name, path in zip(names, paths, strict=True):
            os.replace(name, path)
    finally:
        for name in filter(pathlib.Path.exists, names):
            name.unlink()


def atomic_write(path: pathlib.Path, content: str | bytes) -> None:
    """Writes a file; killed meanwhile, it leaves the old one or the new one, whole.

    Raises:
        OSError: It can't be written; says where, why and what to do.
    """
    try:
        with atomic_paths(path) as (draft,):
            draft.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise OSError(
            f"{path}: can't be written: {error.strerror}. What was there is as it was: make room or"
            " move away what is in its place, then start the same command again."
        ) from error
