"""Trains a recogniser and evaluates it.

    python launch.py --config configs/NAME.py --workdir DIR [--config.field=value …]

On many hosts, one process each or one for each GPU, with DIR on a disk that all share: SLURM, Open
MPI, Kubernetes and TPU pods tell the processes of each other; elsewhere say on each of them
--coordinator HOST:PORT (of process 0, any free port) --num_processes N --process_id I.

Goes on from DIR if it holds a checkpoint of this run. The last line on stdout is one JSON object,
the result on the test split; logs and progress go to stderr.
"""

import json
import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from dstadapter_jax.command import main_with_messages
from dstadapter_jax.distributed import is_primary, join_hosts
from dstadapter_jax.interruption import Interrupted
from dstadapter_jax.train import train_and_evaluate

CONFIG = config_flags.DEFINE_config_file("config", help_string="Python file of the run's config.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder for checkpoints, logs and results.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Processes of the run.", 1)
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Of this process, from 0.", 0)


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
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
    join_hosts(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    try:
        result = train_and_evaluate(config, pathlib.Path(WORKDIR.value).expanduser())
    except Interrupted as interrupted:
        print(f"{interrupted}; the same command goes on from there", file=sys.stderr)
        return interrupted.status
    if is_primary():
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main_with_messages(main))
