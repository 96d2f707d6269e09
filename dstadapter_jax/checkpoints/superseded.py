"""A checkpoint that is written again: the old one stays on the disk until the new one is whole.

Meanwhile it is `STEP.superseded`, a name that Orbax passes over.
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
    """Around what saves a step again: hides the old one, and waits until the new one is whole."""
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
    """Removes an old checkpoint where the new one is whole, and puts it back where there is none.

    Orbax gives a checkpoint its name when it is whole. Of many processes the first does it.
    """
    for old in folder.glob(f"*{SUFFIX}") if is_primary() else ():
        new = old.with_suffix("")
        if new.exists():
            shutil.rmtree(old)
        else:
            old.rename(new)
