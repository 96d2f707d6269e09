"""Orbax's checkpoint manager, configured: which items it saves and which checkpoints it keeps."""

import pathlib

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

METRIC = "val_top1"


def make_manager(folder: pathlib.Path, *, read_only: bool) -> ocp.CheckpointManager:
    """Manager of the checkpoints in a folder: it keeps the newest two and the best by METRIC."""
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
