"""The run that commands use by default."""

import logging
import pathlib

from dstadapter_jax.checkpoints.folder import step_folders
from dstadapter_jax.cli.defaults import RUNS
from dstadapter_jax.errors import UserError

logger = logging.getLogger(__name__)


def newest_run(alternative: str = "--workdir RUN") -> pathlib.Path:
    """Workdir of the run in `runs/` that was trained last; logs it.

    Runs are direct subfolders of `runs/` with `config.json` and a complete checkpoint.

    Raises:
        UserError: There is no such run; the advice names the arguments in `alternative`.
    """
    found = [path.parent for path in RUNS.glob("*/config.json")]
    runs = [run for run in found if step_folders(run / "checkpoints")]
    if not runs:
        raise UserError(
            "--workdir",
            problem="not given, and no run with config.json and complete checkpoints in"
            f" {RUNS.absolute()}",
            advice="Train with `python launch.py --config configs/NAME.py`, or pass"
            f" {alternative}.",
        )
    run = max(runs, key=_modified)
    logger.info("workdir %s (newest run)", run)
    return run


def _modified(run: pathlib.Path) -> float:
    """Time of the last save or the last row of the log, in seconds since 1970."""
    paths = (run / "checkpoints", run / "metrics.jsonl")
    return max(path.stat().st_mtime for path in paths if path.exists())
