"""Takes a trained recognizer elsewhere: `python -m dstadapter_jax.export KIND …`.

adapter    what was trained, in one small file for `--adapter`, with a model card
push       that file and its card to the Hugging Face hub
stablehlo  a program for JAX, PJRT and IREE, on CPUs, GPUs and TPUs
onnx       a program for ONNX Runtime and its kin, on servers, phones and in browsers
"""

import argparse
import sys

from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.export import adapter
from dstadapter_jax.export import hub as push
from dstadapter_jax.export import onnx as onnx_program
from dstadapter_jax.export import stablehlo as stablehlo_program

KINDS = {
    "adapter": adapter.main,
    "push": push.main,
    "stablehlo": stablehlo_program.main,
    "onnx": onnx_program.main,
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
    sys.exit(run_cli(main))
