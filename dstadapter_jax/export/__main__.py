"""Exports a trained recogniser: `python -m dstadapter_jax.export KIND …`.

    stablehlo  one program with its weights, which JAX runs without this project
    onnx       the same for ONNX Runtime, in Python, other languages and browsers

`python -m dstadapter_jax.export KIND --help` tells the rest, docs/leaving_python.md what for.
"""

import argparse
import sys

from dstadapter_jax.command import main_with_messages
from dstadapter_jax.export import onnx_program, stablehlo_program

KINDS = {"stablehlo": stablehlo_program.main, "onnx": onnx_program.main}


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
