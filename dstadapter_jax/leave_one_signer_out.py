"""Leave-one-signer-out cross-validation: train once per signer and test on that signer.

    python -m dstadapter_jax.leave_one_signer_out --config configs/NAME.py [--workdir DIR]
        [--config.field=value …]

Each fold regroups all clips of the dataset, whatever their split: the signer's clips are the test
split, the next signer's the validation split, all others' the training split. DIR, by default
`runs/NAME_leave_one_signer_out`, gets a workdir per fold, and the results over all folds:
`leave_one_signer_out.json`, also printed on stdout, and the page `leave_one_signer_out.html`. The
same command resumes after it was stopped or killed.

To train folds on several machines, run `launch.py --config.data.test_signer=NAME` with
DIR/signer_NAME as its --workdir; this command then uses the finished fold.
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
    from dstadapter_jax.parallel.signals import Interrupted
    from dstadapter_jax.training.cross_validation import cross_validate

    values = define_config_flags(argv)
    flags.DEFINE_string("workdir", None, "Folder for the folds and the results.", values)
    config = parse_config_flags(values, argv, str(__doc__))
    workdir = choose_workdir(values, "_leave_one_signer_out")
    log_workdir(values, workdir)
    fill_data_dir(config)
    try:
        result = cross_validate(config, workdir)
    except Interrupted as interrupted:
        print(f"{interrupted}; the same command resumes the run", file=sys.stderr)
        return interrupted.status
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    exit_without_saving_on_signals()
    sys.exit(run_cli(main))
