"""How a rank tells that it gets on, and what the launcher makes of it."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
from finetune_api.exits import Outcome
from finetune_api.messages import LaunchMessage
from finetune_api.progress import Stage
from finetune_api.reasons import Reason
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.interrupt import StopFlag
from finetune_trainer.launch.stacks import ask_for_stacks, innermost
from finetune_trainer.launch.verdict import with_steps
from finetune_trainer.launch.watchdog import Hang, Silence, Watchdog, silences, suspects_first
from finetune_trainer.pulse import Beat, Known, Pulse, prepare_pulses, pulse_path, read_beats

from tests.unit.trainer.engine_support import REPOSITORY

LIMIT = 60.0
NOW = 1000.0


def beat(rank: int = 0, *, ago: float = 0, resting: bool = False, stage: str | None = "T") -> Beat:
    return Beat(rank, 100 + rank, NOW - ago, resting, stage, 7, 4)


@pytest.mark.parametrize(
    ("beats", "hanging"),
    [
        pytest.param([], [], id="nobody is there yet"),
        pytest.param([beat(ago=59)], [], id="in time"),
        pytest.param([beat(ago=61)], [0], id="too late"),
        pytest.param([beat(0, ago=61), beat(1, ago=5)], [], id="one waits for one that works"),
        pytest.param([beat(0, ago=61), beat(1, ago=90)], [1, 0], id="the longest silent first"),
        pytest.param([beat(0, ago=61), beat(1, resting=True)], [0], id="who rests says nothing"),
        pytest.param([beat(0, ago=999, resting=True)], [], id="all wait for another pod's rank"),
        pytest.param([beat(ago=999, stage=None)], [], id="no stage has begun"),
    ],
)
def test_a_run_hangs_when_none_of_its_working_ranks_gets_on(
    beats: list[Beat], hanging: list[int]
) -> None:
    assert [silence.beat.rank for silence in silences(beats, NOW, LIMIT)] == hanging


def test_the_message_says_where_the_run_stood_and_who_was_silent_first() -> None:
    found = tuple(Silence(beat(rank), 70 + rank, "update.py:9 in update") for rank in range(6))
    message = Hang(60, found).message()
    assert (message.outcome, message.reason) == (Outcome.INFRASTRUCTURE, Reason.HANG)
    assert message.where == "stage T, after step 7"
    assert "stepDeadlineSeconds (60)" in message.message
    assert "rank 0 for 70 s, at update.py:9 in update; rank 1" in message.message
    assert "and 2 more" in message.message


def test_a_rank_that_stands_where_no_other_does_is_named_before_those_that_wait_longer() -> None:
    lines = ["wait.py:1 in get", "wait.py:1 in get", "loop.py:7 in spin", "wait.py:1 in get"]
    found = [Silence(beat(rank), 90 - rank, line) for rank, line in enumerate(lines)]
    assert [silence.beat.rank for silence in suspects_first(found)] == [2, 0, 1, 3]


def test_only_ranks_that_work_are_ended(tmp_path: Path) -> None:
    prepare_pulses(tmp_path)
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(sleeper) as works, subprocess.Popen(sleeper) as rests:
        for rank, process in enumerate((works, rests)):
            told = Beat(rank, process.pid, time.monotonic(), rank == 1, "Training", 7, 4)
            pulse_path(tmp_path, rank).write_text(json.dumps(asdict(told)))
        with Watchdog(tmp_path, 1) as watchdog:
            works.wait(timeout=30)
        still_there = rests.poll() is None
        rests.kill()
    assert still_there
    assert watchdog.hang is not None
    assert [silence.beat.rank for silence in watchdog.hang.silences] == [0]


def test_a_pulse_is_written_seldom_and_at_once_after_a_step_and_around_a_rest(
    tmp_path: Path,
) -> None:
    prepare_pulses(tmp_path)
    now = 0.0
    known = Known()
    pulse = Pulse(tmp_path, 3, known, clock=lambda: now)

    def after(seconds: float, act: Callable[[], None]) -> Beat:
        nonlocal now
        now += seconds
        act()
        (found,) = read_beats(tmp_path)
        return found

    assert after(0, pulse.beat).stage is None
    pulse.stage, known.checkpoint_step = Stage.TRAINING, 4
    assert after(0.01, pulse.beat).stage is None
    assert after(1, pulse.beat).stage == "Training"
    known.last_step = 5
    told = after(0.01, pulse.beat)
    assert (told.rank, told.pid, told.stage) == (3, os.getpid(), "Training")
    assert (told.last_step, told.checkpoint_step, told.resting) == (5, 4, False)
    assert after(0.01, pulse.rest).resting
    first = read_beats(tmp_path)[0].at
    assert after(1, pulse.rest).at == first
    assert not after(0.01, pulse.beat).resting


def test_a_rank_that_waits_for_another_rests_until_it_has_the_answer(tmp_path: Path) -> None:
    prepare_pulses(tmp_path)
    resting: list[bool] = []

    class Answers:
        """A store that knows the answer when it is asked the second time."""

        asked = 0

        def check(self, keys: list[str]) -> bool:
            self.asked += keys == ["finetune/x"]
            if pulse_path(tmp_path, 0).exists():
                resting.append(read_beats(tmp_path)[0].resting)
            return self.asked > 2

        def get(self, _key: str) -> bytes:
            return b"1"

    comm = Comm.alone(StopFlag())
    comm.pulse = Pulse(tmp_path)
    comm._store = Answers()  # type: ignore[assignment]
    assert comm.get("x") == 1
    assert set(resting) == {True}
    assert not read_beats(tmp_path)[0].resting


def test_the_steps_of_a_rank_that_was_killed_are_told_for_it() -> None:
    died = LaunchMessage(outcome=Outcome.INTERNAL, reason=Reason.INTERNAL_ERROR)
    beats = [Beat(0, 1, 0, False, "T", 8, 4), Beat(1, 2, 0, False, "T", 9, None)]
    told = with_steps(died, beats)
    assert (told.last_step, told.checkpoint_step) == (9, 4)
    elsewhere = with_steps(died, beats[1:])
    assert (elsewhere.last_step, elsewhere.checkpoint_step) == (9, None)
    knows = died.model_copy(update={"last_step": 3, "checkpoint_step": 2})
    assert with_steps(knows, beats) == knows


def test_a_process_that_sleeps_tells_its_stacks(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from finetune_trainer.launch.stacks import answer_with_stacks

        def hang():
            time.sleep(600)

        answer_with_stacks(Path(sys.argv[1]))
        print("ready", flush=True)
        hang()
        """
    )
    paths = f"{REPOSITORY / 'api'}{os.pathsep}{REPOSITORY / 'trainer_image'}"
    path = tmp_path / "stacks"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        while psutil.Process(process.pid).status() != psutil.STATUS_SLEEPING:
            time.sleep(0.01)
        gone = 2**22 + 1
        stacks = ask_for_stacks({process.pid: path, gone: tmp_path / "none"})
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert innermost(stacks[process.pid]) == "<string>:7 in hang"
    assert stacks[gone] == ""
    assert innermost("") is None
