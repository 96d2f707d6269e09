"""Overwriting a checkpoint: the old one stays on disk until the new one is complete.

Meanwhile the old one is named `STEP.superseded`, which Orbax ignores.
"""

import pathlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import orbax.checkpoint as ocp

from dstadapter_jax.parallel.hosts import barrier, is_primary

SUFFIX = ".superseded"


@contextmanager
def overwriting(manager: ocp.CheckpointManager, step: int) -> Iterator[None]:
    """Hide the old checkpoint of a step, and wait until the block's new one is complete."""
    folder = pathlib.Path(manager.directory)
    manager.wait_until_finished()
    if is_primary():
        (folder / str(step)).rename(folder / f"{step}{SUFFIX}")
    barrier("superseded checkpoint hidden")
    manager.reload()
    try:
        yield
        manager.wait_until_finished()
    finally:
        recover(folder)


def recover(folder: pathlib.Path) -> None:
    """Remove a superseded checkpoint whose successor is complete; otherwise restore its name.

    Orbax names a checkpoint once it is complete. Only the primary process acts.
    """
    for old in folder.glob(f"*{SUFFIX}") if is_primary() else ():
        new = old.with_suffix("")
        if new.exists():
            shutil.rmtree(old)
        else:
            old.rename(new)
