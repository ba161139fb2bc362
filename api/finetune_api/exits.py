"""How a process of ours ends: one outcome, one exit code, one meaning to the operator."""

from enum import IntEnum, StrEnum


class Outcome(StrEnum):
    """How a `prepare` or `launch` process ended, as written in its termination message."""

    DONE = "Done"
    USER_ERROR = "UserError"
    OUT_OF_MEMORY = "OutOfMemory"
    INTERRUPTED = "Interrupted"
    INFRASTRUCTURE = "Infrastructure"
    INTERNAL = "Internal"


class ExitCode(IntEnum):
    """Exit codes of the trainer's processes (BSD sysexits where one fits)."""

    DONE = 0
    USER_ERROR = 64
    OUT_OF_MEMORY = 65
    INTERNAL = 70
    INFRASTRUCTURE = 74
    INTERRUPTED = 75


_CODE_OF: dict[Outcome, ExitCode] = {
    Outcome.DONE: ExitCode.DONE,
    Outcome.USER_ERROR: ExitCode.USER_ERROR,
    Outcome.OUT_OF_MEMORY: ExitCode.OUT_OF_MEMORY,
    Outcome.INTERRUPTED: ExitCode.INTERRUPTED,
    Outcome.INFRASTRUCTURE: ExitCode.INFRASTRUCTURE,
    Outcome.INTERNAL: ExitCode.INTERNAL,
}


def exit_code(outcome: Outcome) -> ExitCode:
    """The exit code that tells `outcome` to whoever waits for the process."""
    return _CODE_OF[outcome]


def outcome_of(code: int) -> Outcome:
    """The outcome that `code` tells; a signal or an unknown code is `Internal`."""
    for outcome, known in _CODE_OF.items():
        if known == code:
            return outcome
    return Outcome.INTERNAL


def is_counted(outcome: Outcome) -> bool:
    """Whether an end with `outcome` uses up one of `restarts.max`."""
    return outcome in {Outcome.OUT_OF_MEMORY, Outcome.INFRASTRUCTURE, Outcome.INTERNAL}
