"""A folder in which a dataset is built, so that an incomplete dataset is never read."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from dstadapter_jax.errors import UserError
from tfds_builders.clip_builder import SHARDS
from tfds_builders.clip_shards import TEMPORARY

LOCK = ".lock"


class Staging:
    """The folder `.building_NAME_CONFIG` beside the datasets, in which one of them is built.

    Attributes:
        folder: The `data_dir` to build in.
    """

    def __init__(self, data_dir: Path, target: Path):
        """Choose the folder.

        Args:
            data_dir: Folder of all datasets.
            target: Final folder of the dataset, below `data_dir`.
        """
        self._target, self._place = target, target.relative_to(data_dir)
        self.folder = data_dir / f".building_{'_'.join(self._place.parts[:-1])}"
        self._replaced = self.folder / "replaced"
        self._shards = self.folder / self._place.parent / SHARDS

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder, and clean up after a build that was killed in it.

        Raises:
            UserError: Another process builds this dataset.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / LOCK
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = os.path.samestat(os.fstat(lock.fileno()), path.stat())
            except (BlockingIOError, FileNotFoundError):
                held = False  # the other process may just have finished and removed the file
            if not held:
                raise UserError(
                    str(self.folder),
                    problem="another process builds this dataset",
                    advice="Wait for it or stop it.",
                )
            self._recover()
            yield

    def _recover(self) -> None:
        """Restore a replaced dataset and remove incomplete files; complete shards are kept."""
        if self._replaced.exists() and not self._target.exists():
            self._replaced.rename(self._target)
        shutil.rmtree(self._replaced, ignore_errors=True)
        built = self.folder / self._place
        for path in built.parent.glob(f"{built.name}*"):
            shutil.rmtree(path)
        for path in self._shards.glob(f"*{TEMPORARY}"):
            path.unlink(missing_ok=True)  # Beam's workers may outlive a killed build

    def num_shards(self) -> int:
        """Number of complete shards of the incomplete dataset."""
        return len([*self._shards.glob("*.json")])

    def move(self) -> None:
        """Move the built dataset to its final folder; the old one stays until `remove`."""
        self._target.parent.mkdir(parents=True, exist_ok=True)
        if self._target.exists():
            self._target.rename(self._replaced)
        (self.folder / self._place).rename(self._target)

    def remove(self) -> None:
        """Remove the folder, while it is locked."""
        for path in self.folder.iterdir():
            if path.name != LOCK:
                # Beam's workers may still write there.
                shutil.rmtree(path, ignore_errors=True)
        # Last, since it releases the lock: the next process creates its own lock file.
        (self.folder / LOCK).unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()
