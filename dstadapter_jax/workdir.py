"""What lies in a run's workdir beside its checkpoints: `config.json` and `metrics.jsonl`."""

import fcntl
import json
import os
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Fields that may differ when a run goes on: they say where and how fast, not what.
# The backbone's file may have moved too: its hash is compared, not its place.
FREE_FIELDS = (
    *("data.dir", "data.num_threads", "mesh.data", "mesh.fsdp"),
    *("pretrained", "pretrained_revision"),
)


@contextmanager
def hold_workdir(workdir: pathlib.Path) -> Iterator[None]:
    """Makes the folder if need be and keeps other runs out of it, until left or killed.

    Raises:
        ValueError: It can't be written to, or another process trains in it.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / ".lock").open("w")
    except OSError as error:
        raise ValueError(f"--workdir {workdir}: can't be written to: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"--workdir {workdir}: another process trains in it. Stop that one, or choose"
                " another folder."
            ) from error
        yield


def claim_workdir(workdir: pathlib.Path, config: dict[str, Any]) -> None:
    """Writes the run's `config.json`, or checks the one that is there.

    A config without a checkpoint beside it is of a run that never got anywhere, and is replaced.

    Raises:
        ValueError: The folder holds a run of another config.
    """
    path = workdir / "config.json"
    steps = workdir.glob("checkpoints/*")
    if path.exists() and any(step.name.isdecimal() for step in steps):
        _check_same_run(path, config)
        return
    # A run killed here leaves the whole file or none.
    draft = path.with_suffix(".json.tmp")
    draft.write_text(json.dumps(config, indent=2) + "\n")
    os.replace(draft, path)


def _check_same_run(path: pathlib.Path, config: dict[str, Any]) -> None:
    try:
        found = _flat(json.loads(path.read_text()))
    except ValueError as error:
        raise ValueError(f"{path}: expected a run's config as JSON: {error}.") from error
    asked = _flat(json.loads(json.dumps(config)))
    differing = [
        f"{field}: {found.get(field)!r} there, {asked.get(field)!r} asked for"
        for field in sorted(found.keys() | asked.keys())
        if field not in FREE_FIELDS and found.get(field) != asked.get(field)
    ]
    if differing:
        raise ValueError(
            f"{path.parent} holds another run, with {'; '.join(differing)}."
            " Choose another --workdir, or ask for the same to go on with that run."
        )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


class MetricsLog:
    """`metrics.jsonl`: one JSON object a line, each step's once, however often a run is resumed."""

    def __init__(self, path: pathlib.Path, step: int, validated: bool):
        """Opens the log of a run that goes on after `step`; later lines are cut off.

        So is the validation of `step` itself, unless it was `validated` when that was saved.
        """

        def known(row: dict[str, Any]) -> bool:
            return row["step"] < step or (row["step"] == step and (validated or "loss" in row))

        kept = []
        if path.exists():
            # A line that a killed run didn't finish is later than any checkpoint.
            whole = [
                line for line in path.read_text().splitlines(keepends=True) if line[-1] == "\n"
            ]
            kept = [line for line in whole if known(json.loads(line))]
        draft = path.with_suffix(".jsonl.tmp")
        draft.write_text("".join(kept))
        os.replace(draft, path)
        self._path = path

    def write(self, **values: float) -> None:
        """Appends one line."""
        with self._path.open("a") as file:
            file.write(json.dumps(values) + "\n")
