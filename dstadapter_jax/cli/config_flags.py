"""The flags --config FILE --config.field=value."""

import sys
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags


def define_config_flags(argv: Sequence[str]) -> flags.FlagValues:
    """Flags of a command with `--config FILE [--config.field=value …]`, for it to add its own."""
    values = flags.FlagValues()
    # Which fields there are flags for is found in the arguments themselves.
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=[sys.argv[0], *argv])
    return values


def parse_config_flags(
    values: flags.FlagValues, argv: Sequence[str], needed: str, usage: str
) -> ConfigDict:
    """Parses a command's flags, as absl does, and returns the config.

    Wrong use ends the process with `usage` and status 2, as argparse does it; `--help` with 0.

    Args:
        values: Of `define_config_flags`; holds the command's other flags afterwards.
        argv: The arguments.
        needed: Name of the flag that is needed besides `--config`.
        usage: What is printed.
    """
    if "--help" in argv or "-h" in argv:
        print(usage)
        sys.exit(0)
    try:
        unknown = values([sys.argv[0], *argv])[1:]
        if unknown:
            raise flags.Error(f"unexpected {' '.join(unknown)}; values go as --flag=value")
        if values["config"].value is None or values[needed].value is None:
            raise flags.Error(f"both --config and --{needed} are needed")
        return values["config"].value.lock()  # a config file that can't be read raises when used
    except (flags.Error, AttributeError, OSError, TypeError, ValueError) as error:
        # A missing config file, a field that doesn't exist, a value of another type.
        print(f"error: {error}\n\n{usage}", file=sys.stderr)
        sys.exit(2)
