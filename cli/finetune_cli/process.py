"""Starts the trainer as a process of its own, and ends it gently when the user breaks off."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune_api.pods import hub_variables
from finetune_api.runfile import RunFile

from finetune_cli.localjob import LocalFiles

TRAINER = "finetune_trainer"
_POLL_SECONDS = 0.2
_LAST_LINES = 12


@dataclass(frozen=True)
class Ended:
    """How a trainer process ended."""

    code: int
    """Exit code; negative for a signal."""
    text: str
    """What it wrote as termination message; empty when it wrote none."""
    broken_off: bool
    """Whether the user asked for the end."""


def run_step(
    step: str,
    run: RunFile,
    files: LocalFiles,
    tick: Callable[[], None],
    on_stop: Callable[[], None],
) -> Ended:
    """Run `prepare` or `launch` to its end.

    `tick` is called several times a second. On Ctrl-C or SIGTERM, `on_stop` is called once, the
    trainer gets SIGTERM and as long as pods get to save a checkpoint; a second one kills it.
    """
    files.run_file(step).write_text(run.dump(), encoding="utf-8")
    message = files.termination_log(step)
    message.write_bytes(b"")
    files.progress.unlink(missing_ok=True)
    grace = run.spec.pod_template.termination_grace_period_seconds
    command = [sys.executable, "-m", TRAINER, step, str(files.run_file(step))]
    with _Stops() as stops, files.log(step).open("wb") as log:
        process = _start(
            command, {**files.environment(step), **hub_variables(run.spec)}, log.fileno()
        )
        try:
            _wait(process, stops, grace, tick, on_stop)
        finally:
            _kill(process)
    return Ended(process.returncode, message.read_text(encoding="utf-8"), stops.count > 0)


def last_lines(log: Path) -> list[str]:
    """The end of a log."""
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]


class _Stops:
    """Counts Ctrl-C and SIGTERM instead of raising, while it is entered."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> "_Stops":
        self._before = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: object) -> None:
        self.count += 1


def _start(command: list[str], extra: Mapping[str, str], log: int) -> "subprocess.Popen[bytes]":
    """In a session of its own, so that the terminal's Ctrl-C does not reach the ranks."""
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **extra},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _wait(
    process: "subprocess.Popen[bytes]",
    stops: _Stops,
    grace: float,
    tick: Callable[[], None],
    on_stop: Callable[[], None],
) -> None:
    deadline = None
    while process.poll() is None:
        tick()
        if stops.count and deadline is None:
            on_stop()
            process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + grace
        if deadline is not None and (stops.count > 1 or time.monotonic() > deadline):
            return
        time.sleep(_POLL_SECONDS)
    tick()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End the process and its ranks, which are its session, when it has not ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
