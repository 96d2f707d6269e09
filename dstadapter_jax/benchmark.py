"""Measures how fast the program is: `python -m dstadapter_jax.benchmark --mode input`.

Prints one JSON object. `input`: clips a second that a core reads, from either storage, and what the
storages cost in bytes, in time to build and in pixels.
"""

import argparse
import json
import os
import platform
import sys

from dstadapter_jax.benchmark_clips import KINDS
from dstadapter_jax.benchmark_input import benchmark_input
from dstadapter_jax.command import main_with_messages


def _count(text: str) -> int:
    """A number from 1; for `argparse`."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return count


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m dstadapter_jax.benchmark", description=__doc__)
    parser.add_argument("--mode", choices=["input"], required=True)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of clips")
    parser.add_argument("--repeats", type=_count, default=5, help="of each measurement")
    args = parser.parse_args(argv)
    machine = {"cores": os.cpu_count(), "machine": platform.machine()}
    result = benchmark_input(args.kinds, args.repeats)
    print(json.dumps({"mode": args.mode, **machine, "repeats": args.repeats, "clips": result}))
    return 0


if __name__ == "__main__":
    sys.exit(main_with_messages(main))
