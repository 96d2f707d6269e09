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
from typing import Any

from ml_collections import ConfigDict
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from dstadapter_jax.errors import ConfigError, UserError
from dstadapter_jax.files.atomic import atomic_write
from dstadapter_jax.parallel.hosts import is_primary

logger = logging.getLogger(__name__)
Row = dict[str, Any]


class MetricsLog:
    """`metrics.jsonl`: one JSON object per line, each step once, however often a run resumes.

    A resumed run repeats the steps after its checkpoint. Their old rows move to
    `replaced_metrics.jsonl`, so that no row is lost.

    Attributes:
        rows: Rows at the time of opening.
    """

    def __init__(self, path: pathlib.Path, step: int, validation_pending: bool):
        """Open the log of a run that resumes after `step`, and move later rows out of it.

        The row of the validation at `step` is moved, too, if `validation_pending`.
        """

        def is_kept(row: Row) -> bool:
            validation = "loss" not in row
            return row["step"] < step or (
                row["step"] == step and not (validation and validation_pending)
            )

        rows = read_metrics(path)
        self.rows = list(filter(is_kept, rows))
        if replaced := list(itertools.filterfalse(is_kept, rows)):
            _append(path.with_name("replaced_metrics.jsonl"), replaced)
        atomic_write(path, _json_lines(self.rows))
        self._path = path

    def write(self, row: Row) -> None:
        """Append a row and flush it to disk, before any checkpoint that includes its step."""
        _append(self._path, [row])


def _append(path: pathlib.Path, rows: list[Row]) -> None:
    with path.open("a") as file:
        file.write(_json_lines(rows))
        file.flush()
        os.fsync(file.fileno())


def _json_lines(rows: list[Row]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


class TensorBoard:
    """TensorBoard event files: each start of a run adds one, and none is removed.

    `EventsWriter` writes rows at once; `SummaryWriter` writes them in a thread, up to two minutes
    late, and a kill would lose rows of steps that are in a checkpoint.
    """

    def __init__(self, folder: pathlib.Path, rows: list[Row], step: int):
        """Open a new file for a run that resumes after `step` with these rows logged."""
        folder.mkdir(exist_ok=True)
        # TensorBoard reads the files in the order of their names, which begin with the time.
        number = len(list(folder.iterdir()))
        self._writer = EventsWriter(str(folder / "events"), f".{number:04d}")
        # From earlier files TensorBoard drops the events of this step and later ones.
        self._writer.write_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))
        for row in rows:
            if row["step"] == step:
                self.write(row)

    def write(self, row: Row) -> None:
        """Write a row and flush it to disk."""
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if name not in ("step", "epoch", "time")
        ]
        self._writer.write_event(
            Event(wall_time=row.get("time"), step=row["step"], summary=Summary(value=values))
        )
        self._writer.flush()

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


class RunLog(contextlib.ExitStack):
    """All destinations of metrics rows; a context manager. Only the primary process writes."""

    def __init__(
        self, workdir: pathlib.Path, config: ConfigDict, step: int, *, validation_pending: bool
    ):
        """Open the log of a run that resumes after `step`; see `MetricsLog`."""
        super().__init__()
        self._workdir = workdir
        self._writers: list[Callable[[Row], None]] = []
        if not is_primary():
            return
        metrics = MetricsLog(workdir / "metrics.jsonl", step, validation_pending)
        self._writers.append(metrics.write)
        self._add(TensorBoard(workdir / "tensorboard", metrics.rows, step))
        if config.wandb_project:
            self._add(WeightsAndBiases(workdir, config))

    def _add(self, destination: TensorBoard | WeightsAndBiases) -> None:
        self._writers.append(destination.write)
        self.callback(destination.close)

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
