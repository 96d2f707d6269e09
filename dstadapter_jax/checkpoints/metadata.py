"""Metadata of a checkpoint: a JSON document with the checksums of all items of the checkpoint."""

from collections.abc import Mapping
from typing import Any

from dstadapter_jax.checkpoints.integrity import CheckpointError, check_checksums
from dstadapter_jax.errors import format_version_error
from dstadapter_jax.files.hashing import checksum_json

FORMAT_VERSION = 3  # increased when the meaning of a field changes; 1 and 2 precede release 0.1.0


def complete_metadata(
    metadata: Mapping[str, Any],
    step: int,
    iterator: Mapping[str, Any],
    checksums: Mapping[str, Mapping[str, int]],
    *,
    with_metrics: bool,
) -> dict[str, Any]:
    """Metadata as they are saved: the run's own fields, and checksums of all items."""
    completed = {
        **metadata,
        "step": step,
        "format_version": FORMAT_VERSION,
        "checksums": checksums,
        "saved_with_metrics": with_metrics,
    }
    return completed | {"checksum": checksum_json([completed, iterator])}


def check_version(where: str, metadata: Mapping[str, Any]) -> None:
    """Raise CheckpointError if the format version is another one."""
    found = metadata.get("format_version")
    if found != FORMAT_VERSION:
        raise format_version_error(CheckpointError, where, FORMAT_VERSION, found)


def verify_metadata(
    saved: Mapping[str, Any], step: int, iterator: Mapping[str, Any]
) -> dict[str, Any]:
    """Metadata without their checksum; raises ValueError if they are not those of the step."""
    metadata, name = dict(saved), "metadata and iterator"
    check_checksums({name: metadata.pop("checksum")}, {name: checksum_json([metadata, iterator])})
    if metadata["step"] != step:
        raise ValueError(f"its folder was renamed: it holds step {metadata['step']}")
    return metadata
