"""What every command shares: logs to stderr, errors as one message instead of a stack trace."""

import logging
import os
import pathlib
import signal
import sys
from collections.abc import Callable


def expanded_path(text: str) -> pathlib.Path:
    """A path as a user types it, `~` included; for `argparse`."""
    return pathlib.Path(text).expanduser()


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
    try:
        return main(sys.argv[1:])
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        # At once: threads of JAX's and Grain's, broken off in the middle, may crash on the way out.
        os._exit(130)
