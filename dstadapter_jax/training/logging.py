"""Metrics of a run: `metrics.jsonl`, TensorBoard and, on request, Weights & Biases."""

import contextlib
import importlib.metadata
import itertools
import json
import logging
import math
import os
import pathlib
import time
import uuid
from collections.abc import Callable
from typing import Any, Self

from ml_collections import ConfigDict
from tensorboardX import SummaryWriter

from dstadapter_jax.errors import ConfigError, UserError
from dstadapter_jax.files.atomic import atomic_write
from dstadapter_jax.parallel.hosts import is_primary

logger = logging.getLogger(__name__)
Row = dict[str, Any]


class MetricsLog:
    """`metrics.jsonl`: one JSON object per line, each step once, however often a run resumes.

    Attributes:
        rows: Rows at the time of opening.
    """

    def __init__(self, path: pathlib.Path, step: int, validation_pending: bool):
        """Open the log of a run that resumes after `step`, and drop later rows.

        The row of the validation at `step` is dropped, too, if `validation_pending`.
        """

        def is_kept(row: Row) -> bool:
            validation = "loss" not in row
            return row["step"] < step or (
                row["step"] == step and not (validation and validation_pending)
            )

        self.rows = list(filter(is_kept, read_metrics(path)))
        atomic_write(path, "".join(json.dumps(row) + "\n" for row in self.rows))
        self._path = path

    def write(self, row: Row) -> None:
        """Append a row and flush it to disk, before any checkpoint that includes its step."""
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())


class TensorBoard:
    """TensorBoard event files, written anew from the rows that a resumed run keeps.

    So they hold each step once, and lack none that a kill kept from being written.
    """

    def __init__(self, folder: pathlib.Path, rows: list[Row]):
        for path in folder.glob("events.out.tfevents.*"):
            path.unlink()
        # A running TensorBoard drops the events it has read from earlier files.
        self._writer = SummaryWriter(str(folder), purge_step=0)
        for row in rows:
            self._add(row)
        self._writer.flush()

    def write(self, row: Row) -> None:
        """Write a row and flush it to disk."""
        self._add(row)
        self._writer.flush()

    def _add(self, row: Row) -> None:
        for name, value in row.items():
            if name not in ("step", "epoch", "time"):
                self._writer.add_scalar(name, value, row["step"], walltime=row.get("time"))

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class WeightsAndBiases:
    """A run at Weights & Biases, the same one however often it resumes.

    Rows of steps that it already has are ignored there; they are equal.
    """

    def __init__(self, workdir: pathlib.Path, config: ConfigDict):
        import wandb  # optional

        name = workdir / "wandb_id.txt"
        if not name.exists():
            atomic_write(name, uuid.uuid4().hex[:8] + "\n")
        try:
            self._run = wandb.init(
                project=config.wandb_project,
                id=name.read_text().strip(),
                resume="allow",
                name=workdir.absolute().name,
                dir=str(workdir),
                config=config.to_dict(),
                settings=wandb.Settings(console="off"),
            )
        except wandb.errors.Error as error:
            raise ConfigError(
                "config.wandb_project",
                problem=f"Weights & Biases reports: {error}",
                advice="Run `wandb login`, set WANDB_MODE=offline, or leave the field empty.",
            ) from error

    def write(self, row: Row) -> None:
        """Send a row."""
        self._run.log({k: v for k, v in row.items() if k != "step"}, step=row["step"])

    def close(self) -> None:
        """Wait until all rows are sent."""
        self._run.finish()


def check_wandb(project: str) -> None:
    """Raise ConfigError if a Weights & Biases project is set and the package is missing."""
    try:
        if project:
            importlib.metadata.version("wandb")
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError(
            "config.wandb_project",
            expected=f"the package wandb for project {project!r}",
            found="it is not installed",
            advice="Run `pip install wandb`, or leave the field empty.",
        ) from error


def archive_stale_log(workdir: pathlib.Path, step: int, log_every_steps: int) -> None:
    """Rename a log that does not match the last checkpoint to `*.bak`, and warn.

    A run that was killed has logged at most an epoch after its last checkpoint. A log that is
    further ahead belongs to checkpoints that were lost; a log without earlier rows was lost itself.
    """
    rows = read_metrics(workdir / "metrics.jsonl")
    is_ahead = any(_epochs_after(step, row) > 1 for row in rows)
    is_lost = step >= log_every_steps and not any(row["step"] <= step for row in rows)
    for name in ("metrics.jsonl", "tensorboard") if is_ahead or is_lost else ():
        if (workdir / name).exists():
            archive = _archive(workdir / name)
            logger.warning(
                "%s does not match the last checkpoint, of step %d: kept as %s",
                *(workdir / name, step, archive),
            )


def _epochs_after(step: int, row: Row) -> float:
    return row["epoch"] * (row["step"] - step) / row["step"] if row["step"] > step else 0


def _archive(path: pathlib.Path) -> pathlib.Path:
    names = (f"{path.name}.bak{f'-{n}' if n else ''}" for n in itertools.count())
    place = next(place for name in names if not (place := path.with_name(name)).exists())
    return path.rename(place)


class RunLog:
    """All destinations of metrics rows; a context manager. Only the primary process writes."""

    def __init__(
        self, workdir: pathlib.Path, config: ConfigDict, step: int, *, validation_pending: bool
    ):
        """Open the log of a run that resumes after `step`; see `MetricsLog`."""
        self._workdir, self._closing = workdir, contextlib.ExitStack()
        self._writers: list[Callable[[Row], None]] = []
        if not is_primary():
            return
        archive_stale_log(workdir, step, config.log_every_steps)
        metrics = MetricsLog(workdir / "metrics.jsonl", step, validation_pending)
        self._writers.append(metrics.write)
        self._add(TensorBoard(workdir / "tensorboard", metrics.rows))
        if config.wandb_project:
            self._add(WeightsAndBiases(workdir, config))

    def _add(self, destination: TensorBoard | WeightsAndBiases) -> None:
        self._writers.append(destination.write)
        self._closing.callback(destination.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.close()

    def write(self, **values: float) -> None:
        """Write one row, with the Unix time added."""
        row = values | {"time": round(time.time(), 3)}
        try:
            for write in self._writers:
                write(row)
        except OSError as error:
            raise UserError(
                str(self._workdir),
                problem=f"step {row['step']} can't be logged: {error.strerror}",
                advice="Checkpoints are unchanged. Free some space, then start again.",
            ) from error


def read_metrics(path: pathlib.Path) -> list[Row]:
    """Rows of a `metrics.jsonl`; lines that a crash left unreadable are skipped with a warning."""
    rows = []
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            finite = all(math.isfinite(value) for value in row.values())
            if not (finite and row["step"] > 0 and row["epoch"] >= 0):
                raise ValueError
            rows.append(row)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            logger.warning("%s, line %d: unreadable, skipped", path, number)
    return rows
