"""The workdir of a run: its lock, its expected files and folders."""

import fcntl
import glob
import json
import logging
import os
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dstadapter_jax.errors import UserError
from dstadapter_jax.files.atomic import atomic_write
from dstadapter_jax.parallel.hosts import is_primary

logger = logging.getLogger(__name__)

# Written by a run before it ends.
FOLDERS = ("checkpoints", "corrupt_checkpoints", "tensorboard")
FILES = ("config.json", "trained_parameters.json", "metrics.jsonl")


@contextmanager
def lock_workdir(workdir: pathlib.Path) -> Iterator[None]:
    """Create the folder if needed and lock it against other runs, until left or killed.

    The primary process locks it for all processes. A file system without locks gets a warning.

    Raises:
        UserError: Orbax can't use the path, the folder can't be written to, another process holds
            its lock, or a file or folder has the name of something that a run writes.
    """
    _check_path(workdir)
    if not is_primary():
        yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / ".lock").open("w")
    except OSError as error:
        raise UserError(
            f"--workdir {workdir}",
            problem=f"can't be written to: {error.strerror}",
            advice="Choose another folder.",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"--workdir {workdir}",
                problem="another process holds its lock",
                advice="Stop the process that trains in it, or choose another folder.",
            ) from error
        except OSError as error:  # some network file systems
            logger.warning(
                "%s can't be locked (%s): make sure that no other process trains in it",
                *(workdir, error.strerror),
            )
        _check_places(workdir)
        yield


def _check_path(workdir: pathlib.Path) -> None:
    """Refuse paths that Orbax takes for patterns: it would lose the arrays of each checkpoint."""
    path = str(workdir.absolute())
    if glob.has_magic(path) or "\\" in path:
        raise UserError(
            f"--workdir {workdir}",
            expected="an absolute path without *, ?, [ and backslashes",
            found=path,
            advice="Rename the folder, or pass a link to it.",
        )


def _check_places(workdir: pathlib.Path) -> None:
    for name in (*FOLDERS, *FILES):
        path, expected = workdir / name, "folder" if name in FOLDERS else "file"
        fits = path.is_dir() if name in FOLDERS else path.is_file()
        if not fits and os.path.lexists(path):
            found = "something else" if path.exists() else f"a broken link to {path.readlink()}"
            raise UserError(
                str(path),
                expected=f"a {expected} or nothing",
                found=found,
                advice="Restore the target or move this elsewhere, then start the same command"
                " again.",
            )


def write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
    """Write a JSON file of the workdir, on the primary process."""
    if is_primary():
        atomic_write(path, json.dumps(content, indent=2) + "\n")
