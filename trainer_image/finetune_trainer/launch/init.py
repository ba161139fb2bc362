"""PID 1 of a pod: starts the launcher, passes signals on, reaps orphans.

A small parent without threads does this, so that no wait of the elastic agent is stolen from it.
"""

import ctypes
import os
import signal
from collections.abc import Callable
from types import FrameType

_PR_SET_CHILD_SUBREAPER = 36
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def run_as_init(work: Callable[[], int]) -> int:
    """Run `work` in a child process; the child's exit code, or 128 + the signal that killed it."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # Blocked until the handlers stand: a signal in between would be lost, or kill the parent.
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        os._exit(work())

    def forward(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in _FORWARDED:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
