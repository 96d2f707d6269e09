"""What lies in a run's workdir beside its checkpoints: `config.json` and `metrics.jsonl`."""

import fcntl
import json
import logging
import os
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dstadapter_jax.files.atomic import atomic_write
from dstadapter_jax.parallel.hosts import is_primary

logger = logging.getLogger(__name__)

# What a run writes until it ends.
FOLDERS = ("checkpoints", "corrupt_checkpoints", "tensorboard")
FILES = ("config.json", "metrics.jsonl")


@contextmanager
def lock_workdir(workdir: pathlib.Path) -> Iterator[None]:
    """Makes the folder if need be and keeps other runs out of it, until left or killed.

    Of many processes the first holds it for all.

    Raises:
        ValueError: It can't be written to, another process trains in it, or something else is in
            the place of what a run writes.
    """
    if not is_primary():
        yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / ".lock").open("w")
    except OSError as error:
        raise ValueError(
            f"--workdir {workdir}: can't be written to: {error.strerror}. Choose another folder."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"--workdir {workdir}: another process trains in it. Stop that one, or choose"
                " another folder."
            ) from error
        _check_places(workdir)
        yield


def _check_places(workdir: pathlib.Path) -> None:
    for name in (*FOLDERS, *FILES):
        path, expected = workdir / name, "folder" if name in FOLDERS else "file"
        fits = path.is_dir() if name in FOLDERS else path.is_file()
        if not fits and os.path.lexists(path):
            found = "something else" if path.exists() else f"a link to {path.readlink()}: not there"
            raise ValueError(
                f"{path}: expected a {expected} or nothing, found {found}. Bring back what is"
                " missing or move this elsewhere, then start the same command again."
            )


def write_config(workdir: pathlib.Path, config: dict[str, Any]) -> None:
    """Writes `config.json`; of many processes the first does."""
    if is_primary():
        atomic_write(workdir / "config.json", json.dumps(config, indent=2) + "\n")
