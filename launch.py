"""Train and evaluate a sign recognizer.

    python launch.py --config configs/NAME.py [--workdir DIR] [--config.field=value …]

DIR is runs/NAME by default; config.data.dir is TFDS_DATA_DIR, or else ~/tensorflow_datasets, where
`python -m tfds_builders` builds by default. Resumes if DIR holds a checkpoint of this run. The last
line on stdout is one JSON object, the result on the test split; logs and progress go to stderr.

On many hosts run one process each, or one per GPU, with DIR on a shared disk. SLURM, Open MPI,
Kubernetes and TPU pods connect the processes by themselves; elsewhere pass to each of them
--coordinator HOST:PORT (of process 0, any free port) --num_processes N --process_id I.
"""

import json
import sys

from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.parallel.signals import exit_without_saving_on_signals


def main(argv: list[str]) -> int:
    """Run the command with these arguments and return its exit status."""
    from absl import flags

    from dstadapter_jax.cli.config_flags import define_config_flags, parse_config_flags
    from dstadapter_jax.cli.defaults import choose_workdir, fill_data_dir, log_workdir
    from dstadapter_jax.parallel.hosts import initialize_distributed, is_primary
    from dstadapter_jax.parallel.signals import Interrupted
    from dstadapter_jax.training.loop import train_and_evaluate

    values = define_config_flags(argv)
    flags.DEFINE_string("workdir", None, "Folder for checkpoints, logs and results.", values)
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0.", values)
    flags.DEFINE_integer("num_processes", None, "Number of processes.", 1, flag_values=values)
    flags.DEFINE_integer("process_id", None, "Index of this process.", 0, flag_values=values)
    config = parse_config_flags(values, argv, str(__doc__))
    workdir = choose_workdir(values)
    initialize_distributed(values.coordinator, values.num_processes, values.process_id)
    log_workdir(values, workdir)
    fill_data_dir(config)
    try:
        result = train_and_evaluate(config, workdir)
    except Interrupted as interrupted:
        print(f"{interrupted}; the same command resumes the run", file=sys.stderr)
        return interrupted.status
    if is_primary():
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    exit_without_saving_on_signals()
    sys.exit(run_cli(main))
