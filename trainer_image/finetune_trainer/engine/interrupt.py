"""A request to stop: SIGTERM sets a flag, work looks at it between its pieces."""

import signal
from types import FrameType

from finetune_api.errors import InterruptedRunError
from finetune_api.reasons import Reason


class StopFlag:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self.is_set = False

    def listen(self) -> None:
        """Set the flag on SIGTERM and SIGINT; only from the main thread."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        self.is_set = True


def interrupted(detail: str) -> InterruptedRunError:
    """The error that ends a run which was asked to stop."""
    return InterruptedRunError(Reason.INTERRUPTED, f"asked to stop; {detail}")
