"""Validation metrics of checkpoints: Orbax's metrics item `STEP/metrics`, with a checksum."""

import json
import pathlib
from typing import Any

from dstadapter_jax.checkpoints.integrity import check_checksums
from dstadapter_jax.files.atomic import atomic_write
from dstadapter_jax.files.hashing import checksum_json

CHECKSUM = "checksum"


def with_checksum(metrics: dict[str, float] | None) -> dict[str, Any] | None:
    """Metrics as they are saved."""
    return metrics and metrics | {CHECKSUM: checksum_json(metrics)}


def add_metrics(step: pathlib.Path, metrics: dict[str, float]) -> None:
    """Add metrics to the folder of a complete checkpoint; a kill leaves it without metrics."""
    path = step / "metrics/metrics"
    path.parent.mkdir(exist_ok=True)
    atomic_write(path, json.dumps(with_checksum(metrics)))


def verify_metrics(saved: dict[str, Any] | None, *, expected: bool) -> dict[str, float] | None:
    """Metrics without their checksum.

    Args:
        saved: Metrics as read; None if the checkpoint has none.
        expected: Whether the checkpoint was saved with metrics.

    Raises:
        ValueError: Expected metrics are missing, or the checksum is wrong.
    """
    if saved is None:
        if expected:
            raise ValueError("metrics are missing")
        return None
    metrics = dict(saved)
    check_checksums({"metrics": metrics.pop(CHECKSUM, None)}, {"metrics": checksum_json(metrics)})
    return metrics
