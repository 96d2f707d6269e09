"""Trains a recogniser and evaluates it.

    python launch.py --config configs/NAME.py --workdir DIR [--config.field=value …]

Goes on from DIR if it holds a checkpoint of this run. The last line on stdout is one JSON object,
the result on the test split; logs and progress go to stderr.
"""

import json
import os
import pathlib
import signal
import sys
from types import FrameType

from absl import flags
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", help_string="Python file of the run's config.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder for checkpoints, logs and results.")


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    # Here, since they take seconds in which Ctrl-C is to be answered, too.
    from dstadapter_jax.interruption import Interrupted
    from dstadapter_jax.train import train_and_evaluate

    if "--help" in argv or "-h" in argv:
        print(__doc__)
        return 0
    try:
        unknown = flags.FLAGS([sys.argv[0], *argv])[1:]
        if unknown:
            raise flags.Error(f"unexpected {' '.join(unknown)}; values go as --flag=value")
        if CONFIG.value is None or WORKDIR.value is None:
            raise flags.Error("both --config and --workdir are needed")
        config = CONFIG.value.lock()  # a config file that can't be read raises when used
    except (flags.Error, AttributeError, OSError, TypeError, ValueError) as error:
        # A missing config file, a field that doesn't exist, a value of another type.
        print(f"error: {error}\n\n{__doc__}", file=sys.stderr)
        return 2
    try:
        result = train_and_evaluate(config, pathlib.Path(WORKDIR.value).expanduser())
    except Interrupted as interrupted:
        print(f"{interrupted}; the same command goes on from there", file=sys.stderr)
        return interrupted.status
    print(json.dumps(result))
    return 0


def _leave(signum: int, _: FrameType | None) -> None:
    """Before training there is nothing to save; the statuses are those of `Interrupted`."""
    os.write(2, b"stopped before training; the same command starts it again\n")
    os._exit(0 if signum == signal.SIGTERM else 130)


if __name__ == "__main__":
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _leave)
    from dstadapter_jax.command import main_with_messages

    sys.exit(main_with_messages(main))
