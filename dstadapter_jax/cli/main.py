"""Entry point of every command: logs to stderr, errors as one message instead of a stack trace."""

import io
import logging
import os
import pathlib
import socket
import sys
import time
import traceback
from collections.abc import Callable

OUT_OF_MEMORY_HINT = (
    "The device has too little memory. Training needs less, with the same result, with a smaller"
    " config.batch_size and a config.gradient_accumulation_steps that is larger by the same factor,"
    " or with --config.model.remat=full. Or end other programs on the device."
)
PLATFORM_HINT = (
    "Unset JAX_PLATFORMS to use the devices that JAX finds, or install JAX for this platform, such"
    ' as pip install "jax[cuda13]".'
)
HOST_NAME_HINT = (
    "Processes on CPUs connect by this machine's name, which has no address: add the name to"
    " /etc/hosts, after 127.0.0.1."
)
PERMISSION_HINT = "Let its owner grant access (chmod -R g+rwX), or use another folder."


def configure_jax() -> None:
    """Set dtypes as the project needs them, and keep compiled programs on disk.

    `JAX_ENABLE_X64` would make float64 of Python's numbers: a run could not be resumed without it.
    The place of compiled programs, which JAX identifies by program, version and device, is the
    user's if there is one in the environment.
    """
    import jax

    jax.config.update("jax_enable_x64", False)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        try:
            caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        except RuntimeError:  # a user without a home directory
            return
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(caches, "dstadapter_jax")))


def run_cli(main: Callable[[list[str]], int]) -> int:
    """Run a command on the process's arguments and return its exit status.

    Errors that users can fix are `ValueError` or `OSError` and end in one message and status 1. Any
    other exception is a bug and keeps its stack trace. `main` imports what is heavy itself, so that
    Ctrl-C during these seconds ends without a stack trace, too.
    """
    _configure_logging()
    if isinstance(sys.stdout, io.TextIOWrapper):  # not in tests
        sys.stdout.reconfigure(errors="backslashreplace")  # of characters that it can't encode
    try:
        configure_jax()
        return main(sys.argv[1:])
    except Exception as error:
        message = _message(error) or _platform_message()
        if message is None and not _is_distributed():
            raise
        return _fail(message or traceback.format_exc())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        # Without cleanup: interrupted threads of JAX and Grain may crash on the way out.
        os._exit(130)


def _configure_logging() -> None:
    logging.basicConfig(
        stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True
    )
    for handler in logging.root.handlers:
        handler.addFilter(_is_for_users)
    for own in ("dstadapter_jax", "tfds_builders"):
        logging.getLogger(own).setLevel(logging.INFO)


def _is_for_users(record: logging.LogRecord) -> bool:
    """Whether to show a log record.

    Orbax, which logs as absl, warns of every checkpoint without metrics, and logs the stack traces
    of errors that it raises, as asyncio does.
    """
    return record.name not in ("absl", "asyncio") or record.levelno >= logging.CRITICAL


def _message(error: Exception) -> str | None:
    """The message for users; None for a bug, which keeps its stack trace."""
    from dstadapter_jax.parallel.hosts import RESTART_HINT, is_jax_runtime_error

    out_of_memory = "RESOURCE_EXHAUSTED" in str(error)
    if is_jax_runtime_error(error) and (out_of_memory or _is_distributed()):
        hint = OUT_OF_MEMORY_HINT if out_of_memory else RESTART_HINT
        return f"error: {str(error).splitlines()[0]}\n{hint}"
    if isinstance(error, PermissionError) and error.filename:
        return f"error: {error.filename}: {error.strerror}. {PERMISSION_HINT}"
    return f"error: {error}" if isinstance(error, ValueError | OSError) else None


def _platform_message() -> str | None:
    """The message for users if JAX can't use `JAX_PLATFORMS`; some versions fail an assertion."""
    import jax

    platforms = os.environ.get("JAX_PLATFORMS", "")
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0] or "no such device was found"
        unnamed = "gloo" in reason and not own_name_resolves()
        hint = HOST_NAME_HINT if unnamed else PLATFORM_HINT
        return f"error: JAX has no device (JAX_PLATFORMS={platforms!r}): {reason}\n{hint}"
    return None


def own_name_resolves() -> bool:
    """Whether this machine's name has an address; processes on CPUs connect by it."""
    try:
        return bool(socket.getaddrinfo(socket.gethostname(), None))
    except OSError:
        return False


def _is_distributed() -> bool:
    import jax

    return jax.distributed.is_initialized()


def _fail(message: str) -> int:
    print(message, file=sys.stderr, flush=True)
    if _is_distributed():
        # A regular exit waits for all processes, which wait for this one in a collective. The delay
        # gives processes that this one's end will stop the time to report the same error.
        time.sleep(1)
        os._exit(1)
    return 1
