"""Exports a trained recogniser: `python -m dstadapter_jax.export KIND …`.

    stablehlo  a program for JAX, PJRT and IREE, on CPUs, GPUs and TPUs
    onnx       a program for ONNX Runtime and its kin, on servers, phones and in browsers

`python -m dstadapter_jax.export KIND --help` tells the rest.
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
