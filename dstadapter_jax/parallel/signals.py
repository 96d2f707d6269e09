"""Ctrl-C and SIGTERM as requests that the training loop answers between two steps."""

import ctypes
import os
import signal
import threading
from types import FrameType
from typing import Any, Self

from dstadapter_jax.parallel.hosts import DelayedAllReduceMax


class Interrupted(Exception):
    """A run was asked to stop.

    Attributes:
        signum: The signal that asked.
        status: What the process should exit with: 0 for SIGTERM, the way schedulers end a run that
            shall go on elsewhere; 130, the shell's custom, for Ctrl-C.
    """

    def __init__(self, signum: int, where: str = ""):
        super().__init__(f"stopped by {signal.Signals(signum).name} {where}".rstrip())
        self.signum = signum
        self.status = 0 if signum == signal.SIGTERM else 128 + signum


class StopRequest:
    """While entered, the first SIGINT or SIGTERM is noted; a second one ends the process at once.

    Then its status, to a shell, is 143 for SIGTERM, 130 for SIGINT: what was being saved is lost.

    Of many processes any may get the signal; all stop at the same check.
    """

    def __init__(self) -> None:
        self._signum, self._shared = 0, DelayedAllReduceMax()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Python delivers signals to the main thread alone; elsewhere they stay what they are.
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._before[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for signum, handler in self._before.items():
            _end_process_on(signum)
            signal.signal(signum, handler)
        self._before = {}

    @property
    def requested(self) -> int:
        """The signal that this process got, 0 if none."""
        return self._signum

    def check(self) -> None:
        """Raises `Interrupted` if a stop was asked for; called by all processes equally often."""
        if signum := self._shared(self._signum):
            raise Interrupted(signum)

    def _note(self, signum: int, _: FrameType | None) -> None:
        if self._signum:  # both came before Python got round to the first
            os._exit(128 + signum)
        self._signum = signum
        for each in self._before:
            _end_process_on(each)


def _end_process_on(signum: int) -> None:
    """From here on the signal ends the process, even while Python waits for a computation.

    By C's `signal`: one that comes before Python's own has taken its handler away would be reported
    with a stack trace, as "ignored due to race condition".
    """
    ctypes.CDLL(None).signal(signum, None)  # SIG_DFL is 0
