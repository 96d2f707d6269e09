"""What can be wrong with checkpoints: told in one line, and moved out of the way if damaged."""

import itertools
import json
import logging
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import orbax.checkpoint as ocp

from dstadapter_jax.parallel.hosts import is_jax_runtime_error

logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A checkpoint that can't be written or read; says which, why, and what to do."""


class CorruptCheckpointError(CheckpointError):
    """A checkpoint that doesn't hold what was saved."""


@contextmanager
def wrap_errors(
    doing: str, advice: str, kind: type[CheckpointError] = CheckpointError
) -> Iterator[None]:
    """Turns whatever Orbax raises into one line; what was whole on the disk stays whole.

    But for what is no fault of the disk's: a process of the run that died, and too little memory.
    """
    try:
        yield
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:
        if is_jax_runtime_error(error):
            raise
        raise kind(f"{doing} failed: {truncate_message(error)}. {advice}") from error


def truncate_message(error: BaseException | None) -> str:
    """What kind of error, and the beginning of what it says: Orbax's fill a page."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    # The end counts as well: Orbax's errors are long, and have the operating system's last.
    return text if len(text) <= 500 else f"{text[:250]} … {text[-250:]}"


def unreadable_metrics(checkpoints: pathlib.Path, metric: str) -> Iterator[tuple[int, str]]:
    """Steps whose metrics can't be read, and why: Orbax would fall over them on opening.

    Raises:
        OSError: Of the disk, from which nothing follows about what it holds.
    """
    for step in step_folders(checkpoints):
        path = step / "metrics/metrics"
        try:
            float(json.loads(path.read_text())[metric])
        except FileNotFoundError:  # not validated, or removed by the run that goes on there
            continue
        except (ValueError, KeyError, TypeError) as error:
            yield int(step.name), f"{path.relative_to(checkpoints)} is unreadable: {error}"


def step_folders(checkpoints: pathlib.Path) -> list[pathlib.Path]:
    """The folders of whole checkpoints: what a kill left half written has another name."""
    return [path for path in checkpoints.glob("*") if path.name.isdecimal() and path.is_dir()]


def remove_incomplete(checkpoints: pathlib.Path) -> None:
    """Removes what a kill or a full disk left half written.

    Orbax would in the background, which nobody waits for: closed and opened again, it might remove
    what is being written by then.
    """
    for path in checkpoints.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
        shutil.rmtree(path)


def quarantine(checkpoints: pathlib.Path, step: int, reason: str) -> None:
    """Moves a damaged checkpoint to `corrupt_checkpoints` beside `checkpoints`, and says so."""
    folder = checkpoints.with_name("corrupt_checkpoints")
    folder.mkdir(exist_ok=True)
    places = (folder / (f"{step}-{n}" if n else str(step)) for n in itertools.count())
    place = next(path for path in places if not path.exists())
    shutil.move(checkpoints / str(step), place)  # `checkpoints` may be a link to another disk
    logger.warning("a damaged checkpoint, moved to %s: %s", place, reason)


def check_checksums(saved: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raises ValueError, naming what differs, if checksums aren't those that were saved."""
    differing = [name for name in saved if saved[name] != found[name]]
    if differing:
        raise ValueError(f"what it holds isn't what was saved: {', '.join(differing[:5])}")


def check_shapes(step: pathlib.Path, saved: Any, like: dict) -> None:
    """Raises CheckpointError if saved weights don't fit; Orbax's own would print both trees."""
    found, expected = _shapes(saved), _shapes(like)
    differing = [
        f"{name}: expected {expected.get(name, 'none')}, found {found.get(name, 'none')}"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]
    if differing:
        raise CheckpointError(
            f"{step} doesn't fit the model, {len(differing)} weights differ:"
            f" {'; '.join(differing[:5])}"
        )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree.leaves_with_path(dict(tree))
    return {"/".join(str(key.key) for key in path): tuple(leaf.shape) for path, leaf in leaves}
