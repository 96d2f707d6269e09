"""A run's metrics: `metrics.jsonl`, TensorBoard's files, and Weights & Biases where asked for."""

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
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from dstadapter_jax.files.atomic import atomic_write
from dstadapter_jax.parallel.hosts import is_primary

logger = logging.getLogger(__name__)
Row = dict[str, Any]


class MetricsLog:
    """`metrics.jsonl`: one JSON object a line, each step's once, however often a run is resumed.

    Attributes:
        rows: What it held when it was opened.
    """

    def __init__(self, path: pathlib.Path, step: int, validated: bool):
        """Opens the log of a run that goes on after `step`; later lines are cut off.

        So is the validation of `step` itself, unless it was `validated` when that was saved.
        """

        def known(row: Row) -> bool:
            return row["step"] < step or (row["step"] == step and (validated or "loss" in row))

        self.rows = [row for row in read_metrics(path) if known(row)]
        atomic_write(path, "".join(json.dumps(row) + "\n" for row in self.rows))
        self._path = path

    def write(self, row: Row) -> None:
        """Appends one line, through to the disk: no checkpoint is to be there without its lines."""
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())


class TensorBoard:
    """TensorBoard's event files, written anew from the rows that a run goes on from.

    So they hold each step once, and none that a kill kept from being written.
    """

    def __init__(self, folder: pathlib.Path, rows: list[Row]):
        folder.mkdir(exist_ok=True)
        for path in folder.glob("events.out.tfevents.*"):
            path.unlink()
        self._writer = EventsWriter(str(folder / "events"))
        # A TensorBoard that is open meanwhile drops what it has read from the files before.
        self._writer.write_event(Event(step=0, session_log=SessionLog(status=SessionLog.START)))
        for row in rows:
            self._add(row)
        self._writer.flush()

    def write(self, row: Row) -> None:
        """Writes one row through to the disk."""
        self._add(row)
        self._writer.flush()

    def _add(self, row: Row) -> None:
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if name not in ("step", "epoch", "time")
        ]
        self._writer.write_event(
            Event(wall_time=row.get("time"), step=row["step"], summary=Summary(value=values))
        )

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


class WeightsAndBiases:
    """A run at Weights & Biases, the same one however often it is resumed.

    Rows of steps that it holds already are ignored there; they are the same.
    """

    def __init__(self, workdir: pathlib.Path, config: ConfigDict):
        import wandb  # not among the requirements

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
            raise ValueError(
                f"config.wandb_project: Weights & Biases says: {error}. Run `wandb login`, set"
                " WANDB_MODE=offline, or leave the field empty."
            ) from error

    def write(self, row: Row) -> None:
        """Sends one row."""
        self._run.log({k: v for k, v in row.items() if k != "step"}, step=row["step"])

    def close(self) -> None:
        """Waits until all rows are sent."""
        self._run.finish()


def check_wandb(project: str) -> None:
    """Raises ValueError if Weights & Biases is asked for and isn't installed."""
    try:
        if project:
            importlib.metadata.version("wandb")
    except importlib.metadata.PackageNotFoundError as error:
        raise ValueError(
            f"config.wandb_project: expected the package wandb for project {project!r}, found it"
            " not installed. Run `pip install wandb`, or leave the field empty."
        ) from error


def archive_stale_log(workdir: pathlib.Path, step: int, log_every_steps: int) -> None:
    """Keeps under other names what would be lost, where no checkpoint tells why, and says so.

    A run that was killed has logged what came after its last checkpoint: an epoch at most.
    """
    path = workdir / "metrics.jsonl"
    rows = read_metrics(path)
    if any(_epochs_after(step, row) > 1 for row in rows):
        last = max(row["epoch"] for row in rows)
        logger.warning(
            "%s goes on to epoch %g, and the run begins at step %d, the last that a checkpoint is"
            " there of: the log is kept as %s, TensorBoard's files beside it",
            *(path, last, step, _keep(path)),
        )
    elif step >= log_every_steps and not any(row["step"] <= step for row in rows):
        logger.warning(
            "%s tells nothing of the %d steps that were done: its lines are lost; what TensorBoard"
            " has of them is kept in %s.bak",
            *(path, step, workdir / "tensorboard"),
        )
    else:
        return
    if (workdir / "tensorboard").is_dir():
        _keep(workdir / "tensorboard")


def _epochs_after(step: int, row: Row) -> float:
    return row["epoch"] * (row["step"] - step) / row["step"] if row["step"] > step else 0


def _keep(path: pathlib.Path) -> pathlib.Path:
    names = (f"{path.name}.bak{f'-{n}' if n else ''}" for n in itertools.count())
    place = next(place for name in names if not (place := path.with_name(name)).exists())
    return path.rename(place)


class RunLog:
    """All the places that a row of metrics goes to; a context manager.

    Of many processes the first alone writes.
    """

    def __init__(self, workdir: pathlib.Path, config: ConfigDict, step: int, validated: bool):
        """Opens the log of a run that goes on after `step`, as `MetricsLog` takes it."""
        self._workdir, self._closing = workdir, contextlib.ExitStack()
        self._writers: list[Callable[[Row], None]] = []
        if not is_primary():
            return
        archive_stale_log(workdir, step, config.log_every_steps)
        lines = MetricsLog(workdir / "metrics.jsonl", step, validated)
        self._writers.append(lines.write)
        self._add(TensorBoard(workdir / "tensorboard", lines.rows))
        if config.wandb_project:
            self._add(WeightsAndBiases(workdir, config))

    def _add(self, board: TensorBoard | WeightsAndBiases) -> None:
        self._writers.append(board.write)
        self._closing.callback(board.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.close()

    def write(self, **values: float) -> None:
        """Adds one row, and to it the Unix time."""
        row = values | {"time": round(time.time(), 3)}
        try:
            for write in self._writers:
                write(row)
        except OSError as error:
            raise OSError(
                f"{self._workdir}: step {row['step']} can't be logged: {error.strerror}. Its"
                " checkpoints are as they were: make room, then start again."
            ) from error


def read_metrics(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; lines that a crash left unreadable are told of and passed."""
    rows = []
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            numbers = all(math.isfinite(value) for value in row.values())
            if not (numbers and row["step"] > 0 and row["epoch"] >= 0):
                raise ValueError
            rows.append(row)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            logger.warning("%s, line %d: unreadable, left out", path, number)
    return rows
