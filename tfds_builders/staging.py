"""Where a dataset lies while it is built, so that what is half-built is never read as whole."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from dstadapter_jax.errors import UserError
from tfds_builders.clip_builder import SHARDS
from tfds_builders.clip_shards import DRAFT

LOCK = ".lock"


class Staging:
    """A folder of its own beside the datasets, in which one of them is built.

    Attributes:
      folder: the `data_dir` to build in.
    """

    def __init__(self, data_dir: Path, target: Path):
        """Takes the folder of all datasets, and the one below it that the dataset goes to."""
        self._target, self._place = target, target.relative_to(data_dir)
        self.folder = data_dir / f".building_{'_'.join(self._place.parts[:-1])}"
        self._replaced = self.folder / "replaced"
        self._shards = self.folder / self._place.parent / SHARDS

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes out until left or killed, and clears up after a killed one.

        Raises:
          UserError: another process builds this dataset.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / LOCK
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = os.path.samestat(os.fstat(lock.fileno()), path.stat())
            except (BlockingIOError, FileNotFoundError):
                held = False  # not even where the other one has just finished and removed it
            if not held:
                raise UserError(
                    str(self.folder),
                    problem="another process builds this dataset",
                    advice="Wait for it or stop it.",
                )
            self._recover()
            yield

    def _recover(self) -> None:
        """Puts the old dataset back and removes what isn't finished, but keeps whole shards."""
        if self._replaced.exists() and not self._target.exists():
            self._replaced.rename(self._target)
        shutil.rmtree(self._replaced, ignore_errors=True)
        built = self.folder / self._place
        for path in built.parent.glob(f"{built.name}*"):
            shutil.rmtree(path)
        for path in self._shards.glob(f"*{DRAFT}"):
            path.unlink(missing_ok=True)  # Beam's workers may outlive a killed build

    def num_shards(self) -> int:
        """How many shards are whole, of a dataset that isn't."""
        return len([*self._shards.glob("*.json")])

    def move(self) -> None:
        """Puts what was built in the old dataset's place."""
        self._target.parent.mkdir(parents=True, exist_ok=True)
        if self._target.exists():
            self._target.rename(self._replaced)
        (self.folder / self._place).rename(self._target)

    def remove(self) -> None:
        """Removes the folder; to be called by who has locked it."""
        for path in self.folder.iterdir():
            if path.name != LOCK:
                shutil.rmtree(path, ignore_errors=True)  # which such a worker may still fill
        # Last: until then no other process comes in. One that does now has a lock file of its own.
        (self.folder / LOCK).unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()
