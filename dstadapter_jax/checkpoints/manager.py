"""Checkpoints of what is trained: `DIR/checkpoints/STEP`, written by Orbax in the background.

A checkpoint has five items: trainable weights, optimizer state, the data iterator's place, metadata
(config, label names, the backbone's identity, checksums of all the others) and the validation
metrics if it was validated. The frozen backbone isn't among them. The newest two are kept and the
best by `val_top1`.
"""

import pathlib
import shutil
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from dstadapter_jax.checkpoints.integrity import (
    CheckpointError,
    CorruptCheckpointError,
    check_checksums,
    check_shapes,
    quarantine,
    remove_incomplete,
    step_folders,
    truncate_message,
    unreadable_metrics,
    wrap_errors,
)
from dstadapter_jax.checkpoints.superseded import overwriting, recover
from dstadapter_jax.files.hashing import checksum_arrays, checksum_json
from dstadapter_jax.parallel.hosts import barrier, fetch_finite, fetch_global, is_primary

METRIC = "val_top1"
BOOKKEEPING = 1_000_000  # bytes of a checkpoint beside its arrays, rounded up
# Of the metadata; raised when a field that loading needs changes its meaning.
FORMAT_VERSION = 2
NONE_LEFT = (
    "No other checkpoint is left: look at the disk, or choose another --workdir to begin anew."
)


class Checkpointer:
    """The checkpoints of one run; a context manager, which waits for the last save."""

    def __init__(self, workdir: pathlib.Path, *, read_only: bool = False):
        self.folder = (workdir / "checkpoints").absolute()
        if read_only and not self.folder.is_dir():
            raise CheckpointError(f"{workdir}: no checkpoints in it; expected a run's --workdir.")
        self._read_json: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._check_folder(read_only)
        best = checkpoint_managers.BestN(
            get_metric_fn=lambda metrics: metrics[METRIC],
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        self._manager = ocp.CheckpointManager(
            self.folder,
            handler_registry=_handlers(),
            options=ocp.CheckpointManagerOptions(
                best_fn=lambda metrics: metrics[METRIC],
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                    [checkpoint_managers.LatestN(2), best]
                ),
                read_only=read_only,
                create=not read_only,
                # A folder that can't be made is said at once; made in the background, it would
                # keep the writers waiting for it, and the process from its end, for 20 minutes.
                async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
            ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._saving():
            self._manager.close()

    def _check_folder(self, read_only: bool) -> None:
        if not read_only:
            recover(self.folder)
        if is_primary():
            if not read_only:
                remove_incomplete(self.folder)
            unreadable = dict(unreadable_metrics(self.folder, METRIC))
            none_left = len(unreadable) == len(step_folders(self.folder))
            for step, reason in unreadable.items():
                if read_only or none_left:
                    raise CorruptCheckpointError(
                        f"{self.folder}: step {step} is damaged: {reason}."
                        f" {NONE_LEFT if none_left else 'Move it elsewhere.'}"
                    )
                quarantine(self.folder, step, reason)
        if not read_only:
            barrier("metrics looked at")

    def set_aside(self, step: int, error: CorruptCheckpointError) -> None:
        """Moves a damaged checkpoint out of the way, into `DIR/corrupt_checkpoints`."""
        if is_primary():
            quarantine(self.folder, step, truncate_message(error.__cause__))
        barrier("damaged checkpoint moved")
        self._manager.reload()

    def _saving(self, step: int | None = None) -> AbstractContextManager[None]:
        what = "saving" if step is None else f"saving step {step}"
        advice = "Earlier checkpoints are as they were; check the disk, then start again."
        return wrap_errors(f"{what} to {self.folder}", advice)

    def _reading(self, step: int) -> AbstractContextManager[None]:
        others = [other for other in self._manager.all_steps() if other != step] or "none"
        advice = (
            "It is damaged, or the run that goes on there has removed it. Other steps there:"
            f" {others}. Evaluate and predict take one as --step; training goes on without it once"
            f" {self.folder / str(step)} is moved elsewhere."
        )
        doing = f"reading step {step} from {self.folder}"
        return wrap_errors(doing, advice, CorruptCheckpointError)

    def steps(self) -> list[int]:
        """The steps of all whole checkpoints, newest first."""
        return sorted(self._manager.all_steps(), reverse=True)

    def find_step(self, which: str) -> int:
        """The step of the `best` checkpoint, the `last` or a number, as `--step` takes it."""
        steps = self.steps()[::-1]
        if not steps:
            raise CheckpointError(f"{self.folder}: no whole checkpoint in it yet.")
        if which == "last":
            return steps[-1]
        if which == "best":
            # A run stopped before its first validation has no best yet: then the last.
            best = self._manager.best_step()
            return steps[-1] if best is None else best
        if not which.isdecimal() or int(which) not in steps:
            raise CheckpointError(
                f"--step: expected best, last or one of {steps}, which {self.folder} holds,"
                f" found {which!r}."
            )
        return int(which)

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
        """Begins to save; a step that is saved already is written again only to add its metrics.

        Raises:
            FloatingPointError: An array isn't finite; nothing is saved.
            CheckpointError: The disk is full, or can't be written to.
        """
        saved = step == self._manager.latest_step()
        if saved and metrics is None:
            return
        arrays = {"trainable": trainable, "optimizer": optimizer}
        self._check_space(step, arrays)
        checksums = {name: checksum_arrays(whole) for name, whole in fetch_finite(arrays).items()}
        known = {"step": step, "format_version": FORMAT_VERSION, "checksums": checksums}
        metadata = metadata | known
        metadata["checksum"] = checksum_json([metadata, iterator, metrics])
        items = ocp.args.Composite(
            iterator=ocp.args.JsonSave(iterator),
            metadata=ocp.args.JsonSave(metadata),
            **{name: ocp.args.StandardSave(tree) for name, tree in arrays.items()},
        )
        self._read_json.pop(step, None)
        with self._saving(step), overwriting(self._manager, step) if saved else nullcontext():
            self._manager.save(step, args=items, metrics=metrics, force=True)

    def _check_space(self, step: int, arrays: Any) -> None:
        """Out of space half-way, Orbax would print a stack trace for each file."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)) + BOOKKEEPING
        with self._saving(step):
            free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise CheckpointError(
                f"saving step {step} to {self.folder}: needs {needed / 1e6:.1f} MB,"
                f" {free / 1e6:.1f} MB are free. Earlier checkpoints are as they were:"
                " make room, then start again."
            )

    def wait(self) -> None:
        """Returns once the last save is whole."""
        with self._saving():
            self._manager.wait_until_finished()

    def metadata(self, step: int) -> dict[str, Any]:
        """The metadata of a checkpoint, once it and the iterator state are what was saved."""
        metadata, _ = self._restore_json(step)
        return metadata

    def metrics(self, step: int) -> dict[str, float] | None:
        """The validation metrics of a checkpoint; None if it wasn't validated."""
        self._restore_json(step)  # by whose checksum they are what was saved
        return self._manager.metrics(step)

    def _restore_json(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Metadata and iterator state, read and checked once."""
        if step not in self._read_json:
            self._read_json[step] = self._checked_json(step)
        return self._read_json[step]

    def _checked_json(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        json_items = {name: ocp.args.JsonRestore() for name in ("metadata", "iterator")}
        items = self._restore(step, **json_items)
        version = items.metadata["format_version"]
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{self.folder / str(step)}: expected checkpoint format {FORMAT_VERSION}, found"
                f" {version}. Use the version of this project that wrote it."
            )
        with self._reading(step):
            metadata = dict(items.metadata)
            what = "metadata, iterator and metrics"
            saved = {what: metadata.pop("checksum")}
            content = [metadata, items.iterator, self._manager.metrics(step)]
            check_checksums(saved, {what: checksum_json(content)})
            if (
                metadata.get("step", step) != step
            ):  # checkpoints of older versions don't tell theirs
                raise ValueError(f"it is of step {metadata['step']}: its folder was renamed")
        return metadata, items.iterator

    def restore_trainable(self, step: int, like: dict) -> dict:
        """The trainable weights; `like` gives shapes, dtypes and shardings."""
        return self._restore_arrays(step, trainable=like)["trainable"]

    def restore_training(
        self, step: int, trainable: dict, optimizer: Any
    ) -> tuple[dict, Any, dict[str, Any]]:
        """All that training goes on from: trainable weights, optimizer state, iterator state."""
        _, iterator = self._restore_json(step)
        arrays = self._restore_arrays(step, trainable=trainable, optimizer=optimizer)
        return arrays["trainable"], arrays["optimizer"], iterator

    def _restore_arrays(self, step: int, **like: Any) -> dict[str, Any]:
        self._check_shapes(step, like["trainable"])
        saved = self.metadata(step)["checksums"]
        items = self._restore(
            step, **{name: ocp.args.StandardRestore(tree) for name, tree in like.items()}
        )
        with self._reading(step):
            for name in like:
                check_checksums(saved[name], checksum_arrays(fetch_global(items[name])))
        return {name: items[name] for name in like}

    def _restore(self, step: int, **items: Any) -> Any:
        with self._reading(step):
            return self._manager.restore(step, args=ocp.args.Composite(**items))

    def _check_shapes(self, step: int, like: dict) -> None:
        with self._reading(step):
            saved = self._manager.item_metadata(step)["trainable"]
        check_shapes(self.folder / str(step), saved, like)


def _handlers() -> ocp.handlers.CheckpointHandlerRegistry:
    """Named beforehand, so that `item_metadata` can read before anything was saved or restored."""
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    for name in ("trainable", "optimizer"):
        handler = ocp.StandardCheckpointHandler()
        registry.add(name, ocp.args.StandardSave, handler)
        registry.add(name, ocp.args.StandardRestore, handler)
    for name in ("iterator", "metadata"):
        json_handler = ocp.JsonCheckpointHandler()
        registry.add(name, ocp.args.JsonSave, json_handler)
        registry.add(name, ocp.args.JsonRestore, json_handler)
    return registry
