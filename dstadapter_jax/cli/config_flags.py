"""The flags `--config FILE --config.field=value`."""

import sys
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags


def define_config_flags(argv: Sequence[str]) -> flags.FlagValues:
    """Define `--config FILE [--config.field=value …]`; a command adds its own flags."""
    values = flags.FlagValues()
    # The arguments themselves determine which fields get a flag.
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=[sys.argv[0], *argv])
    return values


def parse_config_flags(
    values: flags.FlagValues, argv: Sequence[str], usage: str, required: str = "config"
) -> ConfigDict:
    """Parse a command's flags as absl does and return the config.

    Wrong use ends the process with `usage` and status 2, as with argparse; `--help` with 0.

    Args:
        values: Flags from `define_config_flags` and the command's own; filled in.
        argv: Command-line arguments.
        usage: Text to print on wrong use.
        required: Name of a flag that is required besides `--config`.
    """
    if "--help" in argv or "-h" in argv:
        print(usage)
        sys.exit(0)
    try:
        unknown = values([sys.argv[0], *argv])[1:]
        if unknown:
            raise flags.Error(f"unexpected {' '.join(unknown)}; values go as --flag=value")
        config = values["config"].value
        if config is None or values[required].value is None:
            raise flags.Error(f"--{'config' if config is None else required} is needed")
        return config.lock()  # a config file that can't be read raises here
    except (flags.Error, AttributeError, OSError, TypeError, ValueError) as error:
        # A missing config file, an unknown field, or a value of another type.
        print(f"error: {error}\n\n{usage}", file=sys.stderr)
        sys.exit(2)
