"""Trains once for each signer and tests on that one, who was never seen.

    python -m dstadapter_jax.leave_one_signer_out --config configs/NAME.py --workdir DIR
        [--config.field=value …]

For each signer of the dataset all clips are regrouped: the signer's are the test, the next signer's
validation, all others' train, whatever split they were built into. DIR gets a run's workdir for
each, and what all come to: `leave_one_signer_out.json`, printed on stdout too, and a page for
people, `leave_one_signer_out.html`. The same command goes on where it was stopped or killed.

One after the other they take long. `launch.py --config.data.test_signer=NAME` with DIR/signer_NAME
as its --workdir trains one of them elsewhere; this command then takes it as it is.
"""

import json
import logging
import sys

from absl import flags

from dstadapter_jax.cli.config_flags import define_config_flags, parse_config_flags
from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.cli.paths import workdir_path
from dstadapter_jax.parallel.signals import Interrupted
from dstadapter_jax.training.cross_validation import cross_validate

logger = logging.getLogger("dstadapter_jax.leave_one_signer_out")  # __name__ is "__main__" here


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    values = define_config_flags(argv)
    flags.DEFINE_string("workdir", None, "Folder for the runs and the results.", values)
    config = parse_config_flags(values, argv, "workdir", str(__doc__))
    try:
        result = cross_validate(config, workdir_path(values.workdir))
    except Interrupted as interrupted:
        print(f"{interrupted}; the same command goes on from there", file=sys.stderr)
        return interrupted.status
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
