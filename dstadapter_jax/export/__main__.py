"""Takes a trained recogniser elsewhere: `python -m dstadapter_jax.export KIND …`.

    adapter    what was trained, in one small file for `--adapter`, with a model card
    push       that file and its card to the Hugging Face hub

`python -m dstadapter_jax.export KIND --help` tells the rest.
"""

import argparse
import sys

from dstadapter_jax.command import main_with_messages
from dstadapter_jax.export import adapter, push

KINDS = {
    "adapter": adapter.main,
    "push": push.main,
}


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m dstadapter_jax.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=KINDS)
    return KINDS[parser.parse_args(argv[:1]).kind](argv[1:])


if __name__ == "__main__":
    sys.exit(main_with_messages(main))
