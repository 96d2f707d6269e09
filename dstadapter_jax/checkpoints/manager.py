"""Checkpoints of a training run: `DIR/checkpoints/STEP`, written by Orbax in the background.

A checkpoint has five items: trainable weights, optimizer state, position of the data iterator,
metadata (config, label names, identity of the backbone, checksums of all other items) and, after
a validation, the metrics. The frozen backbone is not saved. The newest two checkpoints and the best
by `val_top1` are kept.
"""

import pathlib
from contextlib import AbstractContextManager
from typing import Any, Self

import jax
import orbax.checkpoint as ocp

from dstadapter_jax.checkpoints.folder import (
    UNCHANGED,
    check_space,
    quarantine,
    refuse_unreadable,
    repair_folder,
)
from dstadapter_jax.checkpoints.integrity import (
    CheckpointError,
    CorruptCheckpointError,
    check_checksums,
    check_shapes,
    truncate_message,
    wrap_errors,
)
from dstadapter_jax.checkpoints.metadata import check_version, complete_metadata, verify_metadata
from dstadapter_jax.checkpoints.metrics import add_metrics, verify_metrics, with_checksum
from dstadapter_jax.checkpoints.orbax_manager import make_manager
from dstadapter_jax.files.hashing import checksum_arrays
from dstadapter_jax.parallel.hosts import barrier, fetch_finite, fetch_global, is_primary


class Checkpointer:
    """Checkpoints of one run; a context manager that waits for the last save."""

    def __init__(self, workdir: pathlib.Path, *, read_only: bool = False):
        self.folder = (workdir / "checkpoints").absolute()
        if read_only and not self.folder.is_dir():
            raise CheckpointError(str(workdir), expected="a --workdir", found="no checkpoints")
        self._json_cache: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        (refuse_unreadable if read_only else repair_folder)(self.folder)
        self._manager = make_manager(self.folder, read_only=read_only)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._saving():
            self._manager.close()

    def quarantine(self, step: int, error: CorruptCheckpointError) -> None:
        """Move a corrupt checkpoint to `DIR/corrupt_checkpoints`."""
        if is_primary():
            quarantine(self.folder, step, truncate_message(error.__cause__))
        barrier("corrupt checkpoint moved")
        self._manager.reload()

    def _saving(self, step: int | None = None) -> AbstractContextManager[None]:
        doing = "saving" if step is None else f"saving step {step}"
        return wrap_errors(
            str(self.folder), doing, f"{UNCHANGED} Check the disk, then start again."
        )

    def _reading(self, step: int) -> AbstractContextManager[None]:
        others = [other for other in self._manager.all_steps() if other != step] or "none"
        advice = (
            "Its files may be corrupt or of another version, or the run that writes here has"
            f" removed them. Other steps: {others}. Evaluate and predict accept one as --step;"
            f" training resumes without it once {self.folder / str(step)} is moved elsewhere."
        )
        return wrap_errors(str(self.folder), f"reading step {step}", advice, CorruptCheckpointError)

    def steps(self) -> list[int]:
        """Steps of all complete checkpoints, newest first."""
        return sorted(self._manager.all_steps(), reverse=True)

    def find_step(self, selector: str) -> int:
        """Step of the `best` checkpoint, the `last` one or a step number, as in `--step`."""
        steps = self.steps()[::-1]
        if not steps:
            raise CheckpointError(str(self.folder), problem="no complete checkpoint yet")
        if selector == "last":
            return steps[-1]
        if selector == "best":
            # A run that was stopped before its first validation has no best checkpoint.
            best = self._manager.best_step()
            return steps[-1] if best is None else best
        if not selector.isdecimal() or int(selector) not in steps:
            expected = f"best, last or one of the steps {steps} in {self.folder}"
            raise CheckpointError("--step", expected=expected, found=repr(selector))
        return int(selector)

    def save(
        self,
        step: int,
        *,
        trainable: dict,
        optimizer: Any,
        iterator: dict[str, Any],
        metadata: dict[str, Any],
        metrics: dict[str, float] | None = None,
    ) -> None:
        """Start an asynchronous save; of a saved step, add the metrics only.

        The first checkpoint of a run is read back at once.

        Raises:
            FloatingPointError: An array is not finite; nothing is saved.
            CheckpointError: The disk is full or can't be written to, or the first checkpoint can't
                be read.
        """
        if step == self._manager.latest_step():
            if metrics is not None:
                self._add_metrics(step, metrics)
            return
        arrays, first = {"trainable": trainable, "optimizer": optimizer}, not self.steps()
        with self._saving(step):
            size = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))
            check_space(self.folder, step, size)
        fetched = fetch_finite(arrays)
        checksums = {name: checksum_arrays(tree) for name, tree in fetched.items()}
        metadata = complete_metadata(
            metadata, step, iterator, checksums, with_metrics=metrics is not None
        )
        items = ocp.args.Composite(
            iterator=ocp.args.JsonSave(iterator),
            metadata=ocp.args.JsonSave(metadata),
            **{name: ocp.args.StandardSave(tree) for name, tree in arrays.items()},
        )
        with self._saving(step):
            self._manager.save(step, args=items, metrics=with_checksum(metrics), force=True)
        if first:
            self._read_back(step, fetched)

    def _read_back(self, step: int, fetched: dict[str, Any]) -> None:
        """Compare a checkpoint with its arrays on the host: the rest of the run depends on it."""
        self.wait()
        advice = "Training would lose its checkpoints: check the disk, or choose another --workdir."
        with wrap_errors(str(self.folder), f"reading step {step} after saving it", advice):
            targets = {name: ocp.args.StandardRestore(tree) for name, tree in fetched.items()}
            found = self._manager.restore(step, args=ocp.args.Composite(**targets))
            for name, tree in fetched.items():
                check_checksums(checksum_arrays(tree), checksum_arrays(found[name]))

    def _add_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Add metrics to a checkpoint that was saved before its validation ended."""
        self.wait()
        with self._saving(step):
            if is_primary():
                add_metrics(self.folder / str(step), metrics)
            barrier("metrics added")
            self._manager.reload()

    def wait(self) -> None:
        """Wait until the last save is complete."""
        with self._saving():
            self._manager.wait_until_finished()

    def metadata(self, step: int) -> dict[str, Any]:
        """Metadata of a checkpoint, verified by its checksum."""
        metadata, _ = self._restore_json(step)
        return metadata

    def metrics(self, step: int) -> dict[str, float] | None:
        """Validation metrics of a checkpoint, verified; None if it was not validated."""
        expected = self.metadata(step)["saved_with_metrics"]
        with self._reading(step):
            return verify_metrics(self._manager.metrics(step), expected=expected)

    def _restore_json(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Metadata and iterator state, read and verified once."""
        if step not in self._json_cache:
            json_items = {name: ocp.args.JsonRestore() for name in ("metadata", "iterator")}
            items = self._restore(step, **json_items)
            check_version(str(self.folder / str(step)), items.metadata)
            with self._reading(step):
                metadata = verify_metadata(items.metadata, step, items.iterator)
                verify_metrics(self._manager.metrics(step), expected=metadata["saved_with_metrics"])
            self._json_cache[step] = metadata, items.iterator
        return self._json_cache[step]

    def restore_trainable(self, step: int, target: dict) -> dict:
        """Restore trainable weights; `target` provides shapes, dtypes and shardings."""
        return self._restore_arrays(step, trainable=target)["trainable"]

    def restore_training(
        self, step: int, trainable: dict, optimizer: Any
    ) -> tuple[dict, Any, dict[str, Any]]:
        """Restore trainable weights, optimizer state and iterator state; arguments are targets."""
        _, iterator = self._restore_json(step)
        arrays = self._restore_arrays(step, trainable=trainable, optimizer=optimizer)
        return arrays["trainable"], arrays["optimizer"], iterator

    def _restore_arrays(self, step: int, **targets: Any) -> dict[str, Any]:
        saved = self.metadata(step)["checksums"]
        with self._reading(step):
            found = self._manager.item_metadata(step)["trainable"]
        check_shapes(self.folder / str(step), found, targets["trainable"])
        items = self._restore(
            step, **{name: ocp.args.StandardRestore(tree) for name, tree in targets.items()}
        )
        with self._reading(step):
            for name in targets:
                check_checksums(saved[name], checksum_arrays(fetch_global(items[name])))
        return {name: items[name] for name in targets}

    def _restore(self, step: int, **items: Any) -> Any:
        with self._reading(step):
            return self._manager.restore(step, args=ocp.args.Composite(**items))
