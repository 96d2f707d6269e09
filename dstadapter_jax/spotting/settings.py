"""The file `spotting.json` in a run's workdir: spotting settings of one checkpoint."""

import pathlib

import msgspec

from dstadapter_jax.adapters.schema import SpottingFile, SpottingSettings, parse_spotting_file
from dstadapter_jax.errors import UserError
from dstadapter_jax.files.atomic import atomic_write
from dstadapter_jax.inference.recognizer import Recognizer

FILE = "spotting.json"


def save_settings(settings: SpottingSettings, workdir: pathlib.Path, step: int) -> None:
    """Write the settings of a checkpoint to a run's workdir."""
    content = msgspec.json.encode(SpottingFile(step=step, settings=settings))
    atomic_write(workdir / FILE, content + b"\n")


def load_settings(workdir: pathlib.Path, step: int, width: int) -> SpottingSettings:
    """Read the settings of a checkpoint with `width` features.

    Raises:
        UserError: The file is missing, invalid, or belongs to another checkpoint.
    """
    path = workdir / FILE
    command = f"python -m dstadapter_jax.calibrate --workdir {workdir} --step {step}"
    if not path.is_file():
        raise UserError(
            str(path),
            problem="not found, and spotting needs the settings in it",
            advice=f"Write it with `{command}`.",
        )
    try:
        saved = parse_spotting_file(path.read_text(), width)
        if saved.step != step:
            raise UserError("step", expected=str(step), found=saved.step)
        return saved.settings
    except ValueError as error:
        raise UserError(
            str(path), problem=str(error), advice=f"Write it again with `{command}`."
        ) from error


def settings_for(recognizer: Recognizer, workdir: pathlib.Path | None) -> SpottingSettings:
    """Settings of a recognizer: from its run's workdir, or from its adapter file if that is None.

    Raises:
        UserError: The run or the adapter file has no valid settings.
    """
    if workdir is not None:
        return load_settings(workdir, recognizer.step, recognizer.model.cfg.width)
    if recognizer.spotting is None:
        raise UserError(
            "--adapter",
            problem="the file has no settings for sign spotting",
            advice="Run `python -m dstadapter_jax.calibrate` for the run, then export it again.",
        )
    return recognizer.spotting
