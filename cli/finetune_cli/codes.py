"""Exit codes of `finetune`, and the error for wrong use of it."""

from enum import IntEnum


class Code(IntEnum):
    """What the exit code tells a script."""

    OK = 0
    FAILED = 1
    USAGE = 2
    TIMEOUT = 3
    INTERRUPTED = 75
    BROKEN_OFF = 130


class UsageError(Exception):
    """The command was called in a way that cannot work; the message says how to call it."""
