"""Runs of which a process stands still, as whole pods: restarts.stepDeadlineSeconds."""

import os
import re
import signal
import time
from pathlib import Path
from subprocess import Popen

import pytest
from finetune_api.exits import ExitCode
from finetune_trainer.pulse import Beat, read_beats

from tests.unit.trainer.engine_support import Ended, Sandbox

DEADLINE = 10
PAUSE = 4.0
"""Well under the deadline; pauses together are longer."""
STEPS = 400


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return Sandbox.make(tmp_path_factory.mktemp("sandbox"))


def start_two(sandbox: Sandbox, name: str) -> tuple[Popen[str], Path, str]:
    """A run of two processes that has done five steps: (launcher, run file, its log so far)."""
    run_file = sandbox.run_file(
        name,
        training={"maxSteps": STEPS, "gradientCheckpointing": False},
        workers={"processesPerNode": 2},
        evaluation={"enabled": False},
        restarts={"stepDeadlineSeconds": DEADLINE},
        checkpoints={"everySteps": 2},
    )
    process = sandbox.start(run_file)
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if f"step 5/{STEPS}" in line:
            return process, run_file, seen
    raise AssertionError(seen)


def beat_of(sandbox: Sandbox, name: str, rank: int) -> Beat:
    return read_beats(sandbox.root / f"work-{name}")[rank]


def test_a_process_that_stands_still_ends_the_run_as_a_hang(sandbox: Sandbox) -> None:
    process, run_file, seen = start_two(sandbox, "hanging")
    began = time.monotonic()
    os.kill(beat_of(sandbox, "hanging", 1).pid, signal.SIGSTOP)
    ended = sandbox.finish(process, run_file)
    ended = Ended(ended.code, ended.message, seen + ended.log)
    assert ended.code == ExitCode.INFRASTRUCTURE, ended.log
    message = ended.message
    assert (message.outcome, message.reason) == ("Infrastructure", "Hang")
    assert message.last_step is not None
    assert message.last_step >= 5
    assert message.where == f"stage Training, after step {message.last_step}"
    assert message.checkpoint_step is not None
    assert 0 < message.checkpoint_step <= message.last_step
    assert "rank 1 for " in message.message
    # The one that waits says where; the other does not even answer.
    assert "Current thread" in ended.log
    assert "rank 1 hangs; its stacks:\nno answer" in ended.log
    assert re.search(r"rank 0 for \d+ s, at \w+\.py:\d+ in \w+", message.message)
    assert DEADLINE <= time.monotonic() - began < 4 * DEADLINE


def test_a_run_that_gets_on_slowly_is_left_alone(sandbox: Sandbox) -> None:
    process, run_file, seen = start_two(sandbox, "slow")
    for _ in range(round(1.5 * DEADLINE / PAUSE)):
        before = beat_of(sandbox, "slow", 1)
        os.kill(before.pid, signal.SIGSTOP)
        time.sleep(PAUSE)
        os.kill(before.pid, signal.SIGCONT)
        while beat_of(sandbox, "slow", 1).last_step == before.last_step:
            time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    ended = sandbox.finish(process, run_file)
    assert ended.code == ExitCode.INTERRUPTED, seen + ended.log


def test_a_pod_that_was_frozen_for_longer_than_the_deadline_goes_on(sandbox: Sandbox) -> None:
    process, run_file, seen = start_two(sandbox, "frozen")
    before = beat_of(sandbox, "frozen", 0)
    pids = [process.pid, before.pid, beat_of(sandbox, "frozen", 1).pid]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(1.3 * DEADLINE)
    os.kill(process.pid, signal.SIGCONT)
    time.sleep(1)  # the launcher wakes first, and sees ranks that were silent for so long
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    while beat_of(sandbox, "frozen", 0).last_step == before.last_step and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    ended = sandbox.finish(process, run_file)
    assert ended.code == ExitCode.INTERRUPTED, seen + ended.log
