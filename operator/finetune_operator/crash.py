"""Named points at which a test makes the process die, as if it were killed there."""

import os
from dataclasses import dataclass

KILLED = 137


@dataclass(frozen=True)
class CrashPoints:
    """Ends the process at one point; at none in production."""

    at: str | None = None

    def passed(self, point: str) -> None:
        """Say that execution reached `point`."""
        if point == self.at:
            os._exit(KILLED)
