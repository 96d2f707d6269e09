"""Atomic writes: a file is replaced as a whole or not at all."""

import os
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def atomic_paths(*paths: pathlib.Path) -> Iterator[list[pathlib.Path]]:
    """Yield temporary names that replace `paths` when the block ends without an error.

    A process that is killed leaves either the old or the new files, complete. After an error the
    old files stay and the temporary files are removed.
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
    """Replace a file's content atomically.

    Raises:
        OSError: The file can't be written; the message has path, reason and advice.
    """
    try:
        with atomic_paths(path) as (temporary,):
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise OSError(
            f"{path}: can't be written: {error.strerror}. The previous content is unchanged. Free"
            " disk space or move the obstacle away, then start the same command again."
        ) from error
