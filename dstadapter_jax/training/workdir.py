"""The workdir of a run: its lock, expected files and folders, and `config.json`."""

import fcntl
import json
import os
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dstadapter_jax.errors import UserError
from dstadapter_jax.files.atomic import atomic_write
from dstadapter_jax.parallel.hosts import is_primary

# Written by a run before it ends.
FOLDERS = ("checkpoints", "corrupt_checkpoints", "tensorboard")
FILES = ("config.json", "metrics.jsonl")


@contextmanager
def lock_workdir(workdir: pathlib.Path) -> Iterator[None]:
    """Create the folder if needed and lock it against other runs, until left or killed.

    The primary process locks it for all processes.

    Raises:
        UserError: The folder can't be written to, another process trains in it, or a file or folder
            has the name of something that a run writes.
    """
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
        except OSError as error:
            raise UserError(
                f"--workdir {workdir}",
                problem="another process trains in it",
                advice="Stop that process, or choose another folder.",
            ) from error
        _check_places(workdir)
        yield


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


def write_config(workdir: pathlib.Path, config: dict[str, Any]) -> None:
    """Write `config.json`, on the primary process."""
    if is_primary():
        atomic_write(workdir / "config.json", json.dumps(config, indent=2) + "\n")
