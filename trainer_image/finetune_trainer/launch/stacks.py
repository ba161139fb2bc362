"""Where a process stands in its code, asked from outside, whatever it hangs in."""

import faulthandler
import os
import re
import signal
import time
from pathlib import Path

_SIGNAL = signal.SIGUSR1
_WAIT_SECONDS = 2.0
"""Writing a stack takes moments; a process that the kernel holds up never writes it."""
_FRAME = re.compile(r'^  File "(?P<file>[^"]*)", line (?P<line>\d+) in (?P<name>.*)$')
_ASKED = "Current thread"
"""How faulthandler begins the stack of the thread that took the signal, which is the main one."""


def answer_with_stacks(path: Path) -> None:
    """Let this process write the stacks of its threads to `path` when it is asked."""
    # Kept open for the life of the process: the handler, in C, writes to the descriptor.
    faulthandler.register(_SIGNAL, path.open("w", encoding="utf-8"), all_threads=True)


def ask_for_stacks(asked: dict[int, Path]) -> dict[int, str]:
    """Key -> the stacks of the process with that number; "" of one that does not answer.

    Args:
        asked: number of a process -> the path that it gave to `answer_with_stacks`. Processes that
            never did so are ended by the signal.
    """
    for pid in asked:
        try:
            os.kill(pid, _SIGNAL)
        except ProcessLookupError:
            continue
    time.sleep(_WAIT_SECONDS)
    return {
        pid: path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        for pid, path in asked.items()
    }


def innermost(stacks: str) -> str | None:
    """The line of code where the main thread stands, such as `store.py:12 in get`."""
    _, _, own = stacks.partition(_ASKED)
    for line in own.splitlines()[1:]:
        frame = _FRAME.match(line)
        if frame:
            return f"{Path(frame['file']).name}:{frame['line']} in {frame['name']}"
    return None
