"""Tells how a download goes, in words and not too often."""

import time
from collections.abc import Callable

LINE_SECONDS = 5.0
"""Least time between two lines."""
NOTABLE_BYTES = 2**26
"""What is smaller and was fetched before a line was due is not spoken of."""


class TransferLog:
    """Lines such as `fetched 1.2 of 2.0 GiB, 850 MiB/s`; a store's `Watch`.

    Args:
        say: takes a line.
        clock: seconds, monotonic.
    """

    def __init__(
        self, say: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._clock = clock
        self._said_at = clock()
        self._said_done = 0

    def __call__(self, done: int, total: int) -> None:
        now = self._clock()
        seconds = now - self._said_at
        if done < total:
            due = seconds >= LINE_SECONDS
        else:
            due = done > self._said_done and (self._said_done > 0 or total >= NOTABLE_BYTES)
        if not due:
            return
        rate = (done - self._said_done) / max(seconds, 1e-3)
        self._said_at, self._said_done = now, done
        self._say(f"fetched {_sizes(done, total)}, {rate / 2**20:,.0f} MiB/s")


def _sizes(done: int, total: int) -> str:
    """Both in the unit that fits the larger."""
    unit, scale = ("GiB", 2**30) if total >= 2**30 else ("MiB", 2**20)
    return f"{done / scale:,.1f} of {total / scale:,.1f} {unit}"
