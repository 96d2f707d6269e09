"""What every command shares: logs to stderr, errors as one message instead of a stack trace."""

import logging
import os
import pathlib
import signal
import sys
import time
import traceback
from collections.abc import Callable

import jax

from dstadapter_jax.parallel.hosts import RESTART_HINT, is_jax_runtime_error

OUT_OF_MEMORY_HINT = (
    "The device has too little memory. Training needs less, with the same result, with a smaller"
    " config.batch_size and as many times larger a config.gradient_accumulation_steps, and with"
    " --config.model.remat=full; or else end what works there besides."
)
PERMISSION_HINT = "Have its owner allow it, chmod -R g+rwX, or use another folder."


def enable_compilation_cache() -> None:
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


def run_cli(main: Callable[[list[str]], int]) -> int:
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
    enable_compilation_cache()
    try:
        return main(sys.argv[1:])
    except Exception as error:
        of_memory = "RESOURCE_EXHAUSTED" in str(error)
        if is_jax_runtime_error(error) and (of_memory or jax.distributed.is_initialized()):
            advice = OUT_OF_MEMORY_HINT if of_memory else RESTART_HINT
            return _failed(f"error: {str(error).splitlines()[0]}\n{advice}")
        if isinstance(error, PermissionError) and error.filename:
            return _failed(f"error: {error.filename}: {error.strerror}. {PERMISSION_HINT}")
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
