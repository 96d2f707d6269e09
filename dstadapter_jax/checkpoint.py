"""Checkpoints of what is trained: `DIR/checkpoints/STEP`, written by Orbax in the background.

A checkpoint has five items: trainable weights, optimizer state, the data iterator's place, metadata
(config, label names, the backbone's identity) and the validation metrics if it was validated. The
frozen backbone isn't among them. The newest two are kept and the best by `val_top1`.
"""

import pathlib
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

METRIC = "val_top1"
BOOKKEEPING = 1_000_000  # bytes of a checkpoint beside its arrays, rounded up
# Of the metadata; raised when a field that loading needs changes its meaning.
FORMAT_VERSION = 1


class CheckpointError(ValueError):
    """A checkpoint that can't be written or read; says which, why, and what to do."""


class Checkpointer:
    """The checkpoints of one run; a context manager, which waits for the last save."""

    def __init__(self, workdir: pathlib.Path, *, read_only: bool = False):
        self.folder = (workdir / "checkpoints").absolute()
        if read_only and not self.folder.is_dir():
            raise CheckpointError(f"{workdir}: no checkpoints in it; expected a run's --workdir.")
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
                cleanup_tmp_directories=not read_only,
            ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._saving():
            self._manager.close()

    def _saving(self, step: int | None = None) -> AbstractContextManager[None]:
        what = "saving" if step is None else f"saving step {step}"
        advice = "Earlier checkpoints are as they were; check the disk, then start again."
        return _teaching(f"{what} to {self.folder}", advice)

    def _reading(self, step: int) -> AbstractContextManager[None]:
        others = [other for other in self._manager.all_steps() if other != step] or "none"
        advice = (
            "It is damaged, or the run that goes on there has removed it. Other steps there:"
            f" {others}. Evaluate and predict take one as --step; to train on from the one before,"
            f" remove {self.folder / str(step)}."
        )
        return _teaching(f"reading step {step} from {self.folder}", advice)

    def latest_step(self) -> int | None:
        """The newest whole checkpoint's step, or None where there is none."""
        return self._manager.latest_step()

    def find_step(self, which: str) -> int:
        """The step of the `best` checkpoint, the `last` or a number, as `--step` takes it."""
        steps = sorted(self._manager.all_steps())
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
        """Begins to save; a step that is saved already is written again only to add its metrics."""
        saved = step == self._manager.latest_step()
        if saved and metrics is None:
            return
        self._check_space(step, (trainable, optimizer))
        with self._saving(step):
            if saved:
                self._manager.delete(step)
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    trainable=ocp.args.StandardSave(trainable),
                    optimizer=ocp.args.StandardSave(optimizer),
                    iterator=ocp.args.JsonSave(iterator),
                    metadata=ocp.args.JsonSave(metadata | {"format_version": FORMAT_VERSION}),
                ),
                metrics=metrics,
                force=True,
            )

    def _check_space(self, step: int, arrays: Any) -> None:
        """Out of space half-way, Orbax would print a stack trace for each file."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)) + BOOKKEEPING
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
        """The metadata of a checkpoint."""
        metadata = self._restore(step, metadata=ocp.args.JsonRestore()).metadata
        if metadata["format_version"] != FORMAT_VERSION:
            raise CheckpointError(
                f"{self.folder / str(step)}: expected checkpoint format {FORMAT_VERSION}, found"
                f" {metadata['format_version']}. Use the version of this project that wrote it."
            )
        return metadata

    def restore_trainable(self, step: int, like: dict) -> dict:
        """The trainable weights; `like` gives shapes, dtypes and shardings."""
        self._check_shapes(step, like)
        return self._restore(step, trainable=ocp.args.StandardRestore(like)).trainable

    def restore_training(
        self, step: int, trainable: dict, optimizer: Any
    ) -> tuple[dict, Any, dict[str, Any]]:
        """All that training goes on from: trainable weights, optimizer state, iterator state."""
        self._check_shapes(step, trainable)
        items = self._restore(
            step,
            trainable=ocp.args.StandardRestore(trainable),
            optimizer=ocp.args.StandardRestore(optimizer),
            iterator=ocp.args.JsonRestore(),
        )
        return items.trainable, items.optimizer, items.iterator

    def _restore(self, step: int, **items: Any) -> Any:
        with self._reading(step):
            return self._manager.restore(step, args=ocp.args.Composite(**items))

    def _check_shapes(self, step: int, like: dict) -> None:
        """Raises one readable error; Orbax's own would print both trees."""
        with self._reading(step):
            saved = self._manager.item_metadata(step)["trainable"]
        found, expected = _shapes(saved), _shapes(like)
        differing = [
            f"{name}: expected {expected.get(name, 'none')}, found {found.get(name, 'none')}"
            for name in sorted(found.keys() | expected.keys())
            if found.get(name) != expected.get(name)
        ]
        if differing:
            raise CheckpointError(
                f"{self.folder / str(step)} doesn't fit the model, {len(differing)} weights differ:"
                f" {'; '.join(differing[:5])}"
            )


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


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree.leaves_with_path(dict(tree))
    return {"/".join(str(key.key) for key in path): tuple(leaf.shape) for path, leaf in leaves}


@contextmanager
def _teaching(doing: str, advice: str) -> Iterator[None]:
    """Turns whatever Orbax raises into one line; what was whole on the disk stays whole."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise CheckpointError(
            f"{doing} failed: {reason[0] if reason else type(error).__name__}. {advice}"
        ) from error
