"""Checkpoints of a training run: `DIR/checkpoints/STEP`, written by Orbax in the background.

A checkpoint has five items: trainable weights, optimizer state, position of the data iterator,
metadata (config, label names, identity of the backbone, checksums of all other items) and, after
a validation, its metrics. The frozen backbone is not saved. The newest two checkpoints and the best
by `val_top1` are kept.
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
OVERHEAD_BYTES = 1_000_000  # upper bound of a checkpoint's size beside its arrays
FORMAT_VERSION = 1  # increased when the meaning of a metadata field changes
NONE_LEFT = "No other checkpoint is left. Check the disk, or use a new --workdir to start over."
UNCHANGED = "Earlier checkpoints are unchanged."


class Checkpointer:
    """Checkpoints of one run; a context manager that waits for the last save."""

    def __init__(self, workdir: pathlib.Path, *, read_only: bool = False):
        self.folder = (workdir / "checkpoints").absolute()
        if read_only and not self.folder.is_dir():
            raise CheckpointError(str(workdir), expected="a --workdir", found="no checkpoints")
        self._json_cache: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        if read_only:
            self._refuse_unreadable()
        else:
            self._repair_folder()
        self._manager = _make_manager(self.folder, read_only)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._saving():
            self._manager.close()

    def _refuse_unreadable(self) -> None:
        for step, reason in unreadable_metrics(self.folder, METRIC):
            raise self._corrupt(step, reason, "Move it elsewhere.")

    def _repair_folder(self) -> None:
        """Finish interrupted writes and quarantine checkpoints that Orbax can't open."""
        recover(self.folder)
        if is_primary():
            remove_incomplete(self.folder)
            unreadable = dict(unreadable_metrics(self.folder, METRIC))
            if unreadable and len(unreadable) == len(step_folders(self.folder)):
                step, reason = next(iter(unreadable.items()))
                raise self._corrupt(step, reason, NONE_LEFT)
            for step, reason in unreadable.items():
                quarantine(self.folder, step, reason)
        barrier("checkpoint folder repaired")

    def _corrupt(self, step: int, reason: str, advice: str) -> CorruptCheckpointError:
        problem = f"step {step} is corrupt: {reason}"
        return CorruptCheckpointError(str(self.folder), problem=problem, advice=advice)

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
            "It is corrupt, or the run that writes here has removed it. Other steps:"
            f" {others}. Evaluate and predict accept one as --step; training resumes without it"
            f" once {self.folder / str(step)} is moved elsewhere."
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
        """Start an asynchronous save; a saved step is overwritten only to add its metrics.

        Raises:
            FloatingPointError: An array is not finite; nothing is saved.
            CheckpointError: The disk is full or can't be written to.
        """
        saved = step == self._manager.latest_step()
        if saved and metrics is None:
            return
        arrays = {"trainable": trainable, "optimizer": optimizer}
        self._check_space(step, arrays)
        checksums = {name: checksum_arrays(tree) for name, tree in fetch_finite(arrays).items()}
        own_fields = {"step": step, "format_version": FORMAT_VERSION, "checksums": checksums}
        metadata = metadata | own_fields
        metadata["checksum"] = checksum_json([metadata, iterator, metrics])
        items = ocp.args.Composite(
            iterator=ocp.args.JsonSave(iterator),
            metadata=ocp.args.JsonSave(metadata),
            **{name: ocp.args.StandardSave(tree) for name, tree in arrays.items()},
        )
        self._json_cache.pop(step, None)
        with self._saving(step), overwriting(self._manager, step) if saved else nullcontext():
            self._manager.save(step, args=items, metrics=metrics, force=True)

    def _check_space(self, step: int, arrays: Any) -> None:
        """Check the free space first: out of space, Orbax prints a stack trace per file."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)) + OVERHEAD_BYTES
        with self._saving(step):
            free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise CheckpointError(
                str(self.folder),
                expected=f"{needed / 1e6:.1f} MB of free space to save step {step}",
                found=f"{free / 1e6:.1f} MB",
                advice=f"{UNCHANGED} Free some space, then start again.",
            )

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
        self._restore_json(step)  # its checksum covers the metrics
        return self._manager.metrics(step)

    def _restore_json(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Metadata and iterator state, read and verified once."""
        if step not in self._json_cache:
            self._json_cache[step] = self._verified_json(step)
        return self._json_cache[step]

    def _verified_json(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        json_items = {name: ocp.args.JsonRestore() for name in ("metadata", "iterator")}
        items = self._restore(step, **json_items)
        version = items.metadata["format_version"]
        if version != FORMAT_VERSION:
            raise CheckpointError(
                str(self.folder / str(step)),
                expected=f"checkpoint format {FORMAT_VERSION}",
                found=version,
                advice="Use the version of this project that wrote it.",
            )
        with self._reading(step):
            metadata = dict(items.metadata)
            name = "metadata, iterator and metrics"
            saved = {name: metadata.pop("checksum")}
            content = [metadata, items.iterator, self._manager.metrics(step)]
            check_checksums(saved, {name: checksum_json(content)})
            if metadata["step"] != step:
                raise ValueError(f"its folder was renamed: it holds step {metadata['step']}")
        return metadata, items.iterator

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
        self._check_shapes(step, targets["trainable"])
        saved = self.metadata(step)["checksums"]
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

    def _check_shapes(self, step: int, target: dict) -> None:
        with self._reading(step):
            saved = self._manager.item_metadata(step)["trainable"]
        check_shapes(self.folder / str(step), saved, target)


def _make_manager(folder: pathlib.Path, read_only: bool) -> ocp.CheckpointManager:
    best = checkpoint_managers.BestN(
        get_metric_fn=lambda metrics: metrics[METRIC],
        n=1,
        keep_checkpoints_without_metrics=False,
    )
    return ocp.CheckpointManager(
        folder,
        handler_registry=_handlers(),
        options=ocp.CheckpointManagerOptions(
            best_fn=lambda metrics: metrics[METRIC],
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                [checkpoint_managers.LatestN(2), best]
            ),
            read_only=read_only,
            create=not read_only,
            # Created synchronously, a folder that can't be created is reported at once. In the
            # background it would keep writers, and the process's end, waiting for 20 minutes.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
        ),
    )


def _handlers() -> ocp.handlers.CheckpointHandlerRegistry:
    """Register item names, so that `item_metadata` works before the first save or restore."""
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
