"""Places of runs and datasets that the user did not pass."""

import logging
import os
import pathlib

from absl import flags
from ml_collections import ConfigDict, config_flags

from dstadapter_jax.cli.paths import workdir_path

RUNS = pathlib.Path("runs")  # in the current folder

logger = logging.getLogger(__name__)


def default_data_dir() -> pathlib.Path:
    """Folder that TFDS, and `python -m tfds_builders`, build datasets in by default.

    Equal to `tfds.core.constants.get_default_data_dir()`, whose import takes seconds.
    """
    home = os.path.expanduser("~")
    place = os.environ.get("TFDS_DATA_DIR", os.path.join(home, "tensorflow_datasets"))
    return pathlib.Path(place).expanduser()


def fill_data_dir(config: ConfigDict) -> None:
    """Set an empty `config.data.dir` to the default, and log the dataset's place."""
    note = ""
    if not config.data.dir:
        config.data.dir = str(default_data_dir())
        note = " (TFDS_DATA_DIR)" if "TFDS_DATA_DIR" in os.environ else " (default)"
    logger.info("dataset %s in %s%s", config.data.name, config.data.dir, note)


def choose_workdir(values: flags.FlagValues, suffix: str = "") -> pathlib.Path:
    """The folder in `--workdir`, by default `runs/NAME` and `suffix`; NAME is the config file.

    Raises:
        PathError: The given path is empty or not on a disk.
    """
    if values.workdir is not None:
        return workdir_path(values.workdir)
    file = pathlib.Path(config_flags.get_config_filename(values["config"]))
    name = file.name.partition(":")[0].removesuffix(".py")  # FILE.py:ARGUMENT
    return RUNS / f"{name}{suffix}"


def log_workdir(values: flags.FlagValues, workdir: pathlib.Path) -> None:
    """Log the workdir and whether it is the default."""
    logger.info("workdir %s%s", workdir, " (default)" if values.workdir is None else "")
