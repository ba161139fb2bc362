"""What can go wrong, as one tree.

DevclusterError
├── Refusal         the machine lacks something; the sentence says what to do
└── CommandFailed   a program that was started failed; carries the end of its output
"""

from __future__ import annotations

from pathlib import Path

SHOWN_LINES = 15


class DevclusterError(Exception):
    """Any failure that is told as a message, without a traceback."""


class Refusal(DevclusterError):
    """Nothing was changed, because something is missing; the message is one sentence."""


class CommandFailed(DevclusterError):
    """A program failed; the message ends with what to do."""


def last_lines(text: str, count: int = SHOWN_LINES) -> str:
    """The end of a log, indented, which is where programs say why they failed."""
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines()[-count:])


def failure(what: str, output: str, advice: str) -> CommandFailed:
    """The error for a failed program: what failed, its last lines, what to do."""
    return CommandFailed(f"{what} failed:\n{last_lines(output)}\n{advice}")


def log_failure(what: str, log: Path, advice: str) -> CommandFailed:
    """As `failure`, with the output read from a log file."""
    output = log.read_text(errors="replace") if log.exists() else "(no log)"
    return failure(what, output, f"{advice} The whole log is {log}.")
