"""The one exception tree of the project.

    FineTuneError
    ├── UserError             the job, its data, model or addresses must change
    ├── OutOfMemoryError      a device or the host ran out of memory
    ├── InfrastructureError   storage, peers or nodes failed; the same work may succeed later
    ├── InterruptedRunError   asked to stop; a checkpoint holds the work
    └── InternalError         a fault of ours

Every error carries a `reason` of `finetune_api.reasons` and a message of one or two sentences
that says what is wrong and what to do; `where` names the place (file and row, field, address).
"""

from finetune_api.exits import Outcome
from finetune_api.reasons import Reason


class FineTuneError(Exception):
    """Base of all errors that end a run with a reason."""

    outcome: Outcome = Outcome.INTERNAL

    def __init__(self, reason: Reason, message: str, *, where: str | None = None) -> None:
        super().__init__(message if where is None else f"{where}: {message}")
        self.reason = reason
        self.message = message
        self.where = where


class UserError(FineTuneError):
    """Something that only the job's owner can mend; never retried."""

    outcome = Outcome.USER_ERROR


class OutOfMemoryError(FineTuneError):
    """Memory ran out; the next attempt runs with half the micro-batch."""

    outcome = Outcome.OUT_OF_MEMORY


class InfrastructureError(FineTuneError):
    """A fault outside the job; retried with backoff and counted."""

    outcome = Outcome.INFRASTRUCTURE


class InterruptedRunError(FineTuneError):
    """The run was asked to stop and has saved what it could; not counted."""

    outcome = Outcome.INTERRUPTED


class InternalError(FineTuneError):
    """A fault of the project itself; counted."""

    outcome = Outcome.INTERNAL
