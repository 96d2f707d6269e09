"""Signals: Ctrl-C and SIGTERM as requests to stop between two steps, and a readable abort."""

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """A signal stopped the run.

    Attributes:
        signum: Signal number.
        step: Step after which the run stopped and saved its state; None if it has no steps.
        status: Exit status: 0 for SIGTERM, with which schedulers end a run that continues
            elsewhere; 130, by the shell's convention, for Ctrl-C.
    """

    def __init__(self, signum: int, step: int | None = None):
        where = "" if step is None else f" after step {step}"
        super().__init__(f"stopped by {signal.Signals(signum).name}{where}")
        self.signum, self.step = signum, step
        self.status = 0 if signum == signal.SIGTERM else 128 + signum


class StopRequest:
    """Context manager that records the first SIGINT or SIGTERM; a second one ends the process.

    The exit status of a process that a second signal ends is 143 for SIGTERM and 130 for SIGINT; a
    save in progress is lost.
    """

    def __init__(self, combine: Callable[[int], int] = int) -> None:
        """Initialize.

        Args:
            combine: Reduction of the signal numbers of all processes, called by each `check`, so
                that a signal to any process stops all of them at the same check.
        """
        self._signum, self._combine = 0, combine
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Python delivers signals to the main thread alone; other threads leave them unchanged.
        if threading.current_thread() is threading.main_thread():
            for signum in STOP_SIGNALS:
                self._previous_handlers[signum] = signal.signal(signum, self._record)
        return self

    def __exit__(self, *exception: object) -> None:
        for signum, handler in self._previous_handlers.items():
            _set_default_action(signum)
            signal.signal(signum, handler)
        self._previous_handlers = {}

    @property
    def requested(self) -> int:
        """Signal number this process received; 0 for none."""
        return self._signum

    def check(self) -> None:
        """Raise `Interrupted` if a stop was requested; all processes must call it equally often."""
        if signum := self._combine(self._signum):
            raise Interrupted(signum)

    def _record(self, signum: int, _: FrameType | None) -> None:
        if self._signum:  # both arrived before Python handled the first
            os._exit(128 + signum)
        self._signum = signum
        for each in self._previous_handlers:
            _set_default_action(each)


def _set_default_action(signum: int) -> None:
    """Let the signal end the process, even while Python waits for a computation.

    Uses C's function `signal`. With Python's, a signal that arrives while the handler is removed
    would be reported with a stack trace, as "ignored due to race condition".
    """
    ctypes.CDLL(None).signal(signum, None)  # SIG_DFL is 0


def exit_without_saving_on_signals() -> None:
    """Handle signals before and after training; for processes that train, at their very start."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, _exit_without_saving)


def _exit_without_saving(signum: int, _: FrameType | None) -> None:
    """End the process with a status as in `Interrupted`."""
    os.write(2, b"stopped with nothing to save; the same command starts again\n")
    os._exit(0 if signum == signal.SIGTERM else 130)


def exit_with_message_on_abort(message: str) -> None:
    """Exit with status 1 and a message where JAX aborts because another process is silent.

    JAX detects a dead peer even inside a collective, but answers with `abort()` in a thread of its
    own. Python's signal handlers run in the main thread only, so the handler is a C function.
    """

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def leave(_: int) -> None:
        os.write(2, f"\nerror: {message}\n".encode())
        os._exit(1)

    ctypes.CDLL(None).signal(signal.SIGABRT, leave)
    _handlers.append(leave)


_handlers: list[Any] = []  # C keeps no reference to them
