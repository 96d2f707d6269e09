"""What every command shares: logs to stderr, errors as one message instead of a stack trace."""

import argparse
import logging
import os
import pathlib
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from dstadapter_jax.parallel.hosts import ADVICE, of_runtime

MEMORY = (
    "The device has too little memory. Training needs less, with the same result, with a smaller"
    " config.batch_size and as many times larger a config.gradient_accumulation_steps, and with"
    " --config.model.remat=full; or else end what works there besides."
)
NOT_ALLOWED = "Have its owner allow it, chmod -R g+rwX, or use another folder."


class PathError(argparse.ArgumentTypeError, ValueError):
    """A path that can't be meant; `argparse` prints what it says, too."""


def expanded_path(text: str) -> pathlib.Path:
    """A path as a user types it, `~` included; for `argparse`."""
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError as error:
        raise PathError(f"{text}: {error} Write the path out.") from error


def workdir_path(text: str) -> pathlib.Path:
    """The folder that a command is to fill.

    Raises:
        ValueError: It is empty, or in a place that isn't written to as to a disk.
    """
    if not text.strip() or "://" in text:
        raise PathError(
            f"--workdir: expected a folder on a disk of this machine or one that is mounted, found"
            f" {text!r}. A bucket can be mounted: gcsfuse, s3fs; . is the folder that you are in."
        )
    return expanded_path(text)


def make_output(folder: pathlib.Path) -> None:
    """Makes the folder that results go to, if need be, before there are any to lose.

    Raises:
        ValueError: It can't be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(
            f"{folder}: expected a folder that results can be written to: {error.strerror}. Name"
            " another as --output DIR, or mend this one."
        ) from error


def config_flag_values(argv: Sequence[str]) -> flags.FlagValues:
    """Flags of a command with `--config FILE [--config.field=value …]`, for it to add its own."""
    values = flags.FlagValues()
    # Which fields there are flags for is found in the arguments themselves.
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=[sys.argv[0], *argv])
    return values


def parse_config(
    values: flags.FlagValues, argv: Sequence[str], needed: str, usage: str
) -> ConfigDict:
    """Parses a command's flags, as absl does, and returns the config.

    Wrong use ends the process with `usage` and status 2, as argparse does it; `--help` with 0.

    Args:
        values: Of `config_flag_values`; holds the command's other flags afterwards.
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


def keep_compiled_programs() -> None:
    """Lets a second start take its compiled programs from the disk, unless the user said where.

    JAX looks for them by the program, its version and the device, so that none is ever used for
    another.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        try:
            caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        except RuntimeError:  # a user without a home: nothing is kept
            return
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(caches, "dstadapter_jax")))


def main_with_messages(main: Callable[[list[str]], int]) -> int:
    """Runs a command on the process's arguments and returns its exit status.

    Errors that users can mend are `ValueError` and `OSError` throughout the project: they end in
    one message and status 1. Anything else is a defect of ours and keeps its stack trace.
    """
    # Libraries have set up logging of their own while they were imported: force ours.
    logging.basicConfig(
        stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True
    )
    # Orbax warns of every checkpoint without metrics, and logs the stack of what it then raises.
    for loud in ("absl", "asyncio"):
        logging.getLogger(loud).setLevel(logging.CRITICAL)
    for ours in ("dstadapter_jax", "tfds_builders"):
        logging.getLogger(ours).setLevel(logging.INFO)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    keep_compiled_programs()
    try:
        return main(sys.argv[1:])
    except Exception as error:
        of_memory = "RESOURCE_EXHAUSTED" in str(error)
        if of_runtime(error) and (of_memory or jax.distributed.is_initialized()):
            advice = MEMORY if of_memory else ADVICE
            return _failed(f"error: {str(error).splitlines()[0]}\n{advice}")
        if isinstance(error, PermissionError) and error.filename:
            return _failed(f"error: {error.filename}: {error.strerror}. {NOT_ALLOWED}")
        if isinstance(error, ValueError | OSError):
            return _failed(f"error: {error}")
        if not jax.distributed.is_initialized():
            raise
        return _failed(traceback.format_exc())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        # At once: threads of JAX's and Grain's, broken off in the middle, may crash on the way out.
        os._exit(130)


def _failed(message: str) -> int:
    print(message, file=sys.stderr, flush=True)
    if jax.distributed.is_initialized():
        # The ordinary way out waits for all processes, and they for this one in a collective. The
        # second is for those that are ended by this one's end, to tell of the same error.
        time.sleep(1)
        os._exit(1)
    return 1
