"""A request to stop: SIGTERM sets a flag, work looks at it between its pieces."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from finetune_api.errors import InterruptedRunError
from finetune_api.reasons import Reason


class _CutShort(BaseException):
    """Ends work in the middle; libraries that go on after an Exception let it pass."""


class StopFlag:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self.is_set = False
        self._cuts_short = False

    def listen(self) -> None:
        """Set the flag on SIGTERM and SIGINT; only from the main thread."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    @contextmanager
    def cutting_short(self) -> Iterator[None]:
        """Let a request end what is done meanwhile where it stands, with an error that nobody
        else knows: look at the flag afterwards."""
        self._cuts_short = True
        try:
            if self.is_set:
                raise _CutShort
            yield
        finally:
            self._cuts_short = False

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        self.is_set = True
        if self._cuts_short:
            self._cuts_short = False
            raise _CutShort


def interrupted(detail: str) -> InterruptedRunError:
    """The error that ends a run which was asked to stop."""
    return InterruptedRunError(Reason.INTERRUPTED, f"asked to stop; {detail}")
