"""The folder of a run's checkpoints: its complete steps, repair, quarantine and free space."""

import itertools
import json
import logging
import pathlib
import shutil
from collections.abc import Iterator

import orbax.checkpoint as ocp

from dstadapter_jax.checkpoints.integrity import CheckpointError, CorruptCheckpointError
from dstadapter_jax.checkpoints.orbax_manager import METRIC
from dstadapter_jax.parallel.hosts import barrier, is_primary

logger = logging.getLogger(__name__)

QUARANTINE = "corrupt_checkpoints"
OVERHEAD_BYTES = 1_000_000  # upper bound of a checkpoint's size beside its arrays
NONE_LEFT = "No other checkpoint is left. Check the disk, or use a new --workdir to start over."
UNCHANGED = "Earlier checkpoints are unchanged."


def step_folders(checkpoints: pathlib.Path) -> list[pathlib.Path]:
    """Folders of complete checkpoints; incomplete ones have other names."""
    return [path for path in checkpoints.glob("*") if path.name.isdecimal() and path.is_dir()]


def repair_folder(checkpoints: pathlib.Path) -> None:
    """Remove incomplete checkpoints and quarantine those that Orbax can't open; collective.

    Raises:
        CorruptCheckpointError: Orbax can't open any of them; none is moved.
    """
    if is_primary():
        remove_incomplete(checkpoints)
        unreadable = dict(unreadable_metrics(checkpoints))
        if unreadable and len(unreadable) == len(step_folders(checkpoints)):
            step, reason = next(iter(unreadable.items()))
            raise _corrupt(checkpoints, step, reason, NONE_LEFT)
        for step, reason in unreadable.items():
            quarantine(checkpoints, step, reason)
    barrier("checkpoint folder repaired")


def refuse_unreadable(checkpoints: pathlib.Path) -> None:
    """Raise CorruptCheckpointError if Orbax can't open a checkpoint, and so the whole folder."""
    for step, reason in unreadable_metrics(checkpoints):
        raise _corrupt(checkpoints, step, reason, "Move it elsewhere.")


def _corrupt(
    checkpoints: pathlib.Path, step: int, reason: str, advice: str
) -> CorruptCheckpointError:
    problem = f"step {step} is corrupt: {reason}"
    return CorruptCheckpointError(str(checkpoints), problem=problem, advice=advice)


def remove_incomplete(checkpoints: pathlib.Path) -> None:
    """Remove checkpoints that a kill or a full disk left incomplete.

    Orbax does this in a background thread that nobody waits for. After closing and reopening, the
    thread could remove a checkpoint that is being written.
    """
    for path in checkpoints.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
        shutil.rmtree(path)


def unreadable_metrics(checkpoints: pathlib.Path) -> Iterator[tuple[int, str]]:
    """Yield steps with unreadable metrics and the reasons; Orbax fails to open the folder then.

    Raises:
        OSError: The disk can't be read.
    """
    for step in step_folders(checkpoints):
        path = step / "metrics/metrics"
        try:
            float(json.loads(path.read_text())[METRIC])
        except FileNotFoundError:  # not validated, or just removed by the run that writes here
            continue
        except (ValueError, KeyError, TypeError) as error:
            yield int(step.name), f"{path.relative_to(checkpoints)} is unreadable: {error}"


def quarantine(checkpoints: pathlib.Path, step: int, reason: str) -> None:
    """Move a corrupt checkpoint to `corrupt_checkpoints`, beside `checkpoints`, and log it."""
    folder = checkpoints.with_name(QUARANTINE)
    folder.mkdir(exist_ok=True)
    places = (folder / (f"{step}-{n}" if n else str(step)) for n in itertools.count())
    place = next(path for path in places if not path.exists())
    shutil.move(checkpoints / str(step), place)  # `checkpoints` may be a link to another disk
    logger.warning("corrupt checkpoint moved to %s: %s", place, reason)


def check_space(checkpoints: pathlib.Path, step: int, array_bytes: int) -> None:
    """Raise CheckpointError if a step does not fit: Orbax would print a stack trace per file."""
    needed, free = array_bytes + OVERHEAD_BYTES, shutil.disk_usage(checkpoints).free
    if free < needed:
        raise CheckpointError(
            str(checkpoints),
            expected=f"{needed / 1e6:.1f} MB of free space to save step {step}",
            found=f"{free / 1e6:.1f} MB",
            advice=f"{UNCHANGED} Free some space, then start again.",
        )
