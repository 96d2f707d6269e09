"""Trains a recognizer and evaluates it.

    python launch.py --config configs/NAME.py --workdir DIR [--config.field=value …]

On many hosts, one process each or one for each GPU, with DIR on a disk that all share: SLURM, Open
MPI, Kubernetes and TPU pods tell the processes of each other; elsewhere say on each of them
--coordinator HOST:PORT (of process 0, any free port) --num_processes N --process_id I.

Goes on from DIR if it holds a checkpoint of this run. The last line on stdout is one JSON object,
the result on the test split; logs and progress go to stderr.
"""

import json
import os
import signal
import sys
from types import FrameType


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    # Here, since they take seconds in which Ctrl-C is to be answered, too.
    from absl import flags

    from dstadapter_jax.cli.config_flags import define_config_flags, parse_config_flags
    from dstadapter_jax.cli.paths import workdir_path
    from dstadapter_jax.parallel.hosts import initialize_distributed, is_primary
    from dstadapter_jax.parallel.signals import Interrupted
    from dstadapter_jax.training.loop import train_and_evaluate

    values = define_config_flags(argv)
    flags.DEFINE_string("workdir", None, "Folder for checkpoints, logs and results.", values)
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0.", values)
    flags.DEFINE_integer("num_processes", None, "Processes of the run.", 1, flag_values=values)
    flags.DEFINE_integer("process_id", None, "Of this process, from 0.", 0, flag_values=values)
    config = parse_config_flags(values, argv, "workdir", __doc__)
    workdir = workdir_path(values.workdir)
    initialize_distributed(values.coordinator, values.num_processes, values.process_id)
    try:
        result = train_and_evaluate(config, workdir)
    except Interrupted as interrupted:
        print(f"{interrupted}; the same command goes on from there", file=sys.stderr)
        return interrupted.status
    if is_primary():
        print(json.dumps(result))
    return 0


def _leave(signum: int, _: FrameType | None) -> None:
    """Before training and after it nothing is to be saved; statuses as those of `Interrupted`."""
    os.write(2, b"stopped with nothing to save; the same command starts it again\n")
    os._exit(0 if signum == signal.SIGTERM else 130)


if __name__ == "__main__":
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _leave)
    from dstadapter_jax.cli.main import run_cli

    sys.exit(run_cli(main))
