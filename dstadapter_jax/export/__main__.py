"""Export a trained recognizer: `python -m dstadapter_jax.export KIND …`.

adapter    trained weights in one small file for `--adapter`, with a model card
convert    a checkpoint of the reference as an adapter file
push       upload of an adapter file and its card to the Hugging Face Hub
stablehlo  a program for JAX, PJRT and IREE, on CPUs, GPUs and TPUs
onnx       a program for ONNX Runtime and similar, on servers, phones and in browsers
"""

import argparse
import sys

from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.export import adapter, conversion, hub, onnx, stablehlo

KINDS = {
    "adapter": adapter.main,
    "convert": conversion.main,
    "push": hub.main,
    "stablehlo": stablehlo.main,
    "onnx": onnx.main,
}


def main(argv: list[str]) -> int:
    """Run a subcommand with these arguments and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dstadapter_jax.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=KINDS)
    return KINDS[parser.parse_args(argv[:1]).kind](argv[1:])


if __name__ == "__main__":
    sys.exit(run_cli(main))
