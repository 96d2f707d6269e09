"""The console command `dstadapter COMMAND …`: all commands as subcommands."""

import importlib
import sys

from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.parallel.signals import exit_without_saving_on_signals

COMMANDS = {
    "build": ("tfds_builders.__main__", "build a dataset, or check it: build check DATASET …"),
    "browse": ("dstadapter_jax.browse", "draw clips as the network sees them"),
    "train": ("launch", "train and evaluate"),
    "evaluate": ("dstadapter_jax.evaluate", "evaluate a checkpoint, or compare two runs"),
    "leave_one_signer_out": ("dstadapter_jax.leave_one_signer_out", "cross-validate over signers"),
    "predict": ("dstadapter_jax.predict", "recognize signs in videos or before a camera"),
    "calibrate": ("dstadapter_jax.calibrate", "calibrate sign spotting"),
    "export": ("dstadapter_jax.export.__main__", "write adapter files, ONNX, StableHLO"),
    "app": ("dstadapter_jax.app.__main__", "serve a web page"),
    "benchmark": ("dstadapter_jax.benchmark.__main__", "measure speed and memory"),
    "demo": ("dstadapter_jax.demo.__main__", "run everything on a rendered vocabulary"),
}
TRAINING = ("train", "leave_one_signer_out", "demo")


def main() -> int:
    """Run the subcommand in `sys.argv`; modules are imported once it is known."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        lines = [f"  {command:22}{text}" for command, (_, text) in COMMANDS.items()]
        usage = "\n".join(["usage: dstadapter COMMAND [--help] …", "", "commands:", *lines])
        asked = name in ("-h", "--help")
        print(usage, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    del sys.argv[1]
    if name in TRAINING:
        exit_without_saving_on_signals()
    return run_cli(lambda argv: importlib.import_module(COMMANDS[name][0]).main(argv))


if __name__ == "__main__":
    sys.exit(main())
