"""Requests to stop, by signals."""

import pytest

from tests.helpers.processes import run_python

# Both signals arrive before Python runs a handler.
SIGNALLED_AT_ONCE = """
import signal, sys
from dstadapter_jax.parallel.signals import StopRequest
with StopRequest() as stop:
    both = [signal.Signals[name] for name in sys.argv[1:]]
    signal.pthread_sigmask(signal.SIG_BLOCK, both)
    for signum in both:
        signal.raise_signal(signum)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
    stop.check()
"""


@pytest.mark.parametrize("signums", [("SIGINT", "SIGTERM"), ("SIGTERM", "SIGINT")])
def test_stop_request_with_two_signals_at_once_exits_without_a_stack_trace(signums):
    result = run_python("-c", SIGNALLED_AT_ONCE, *signums)
    assert result.returncode in (130, 143)
    assert result.stderr == ""
